# DINOv2 ViT-B/14 instead of ViT-B/16: patches of 14 px give 16x16 cells, which the adapter pools to 7x7.
_base_ = './iid_vit_b16_ffpp.py'

model = dict(
    backbone=dict(
        # Size of the pretrained weights; positional embeddings are resized to the input.
        img_size=518,
        patch_size=14,
        layer_scale_init_value=1e-5,
        init_cfg=dict(
            checkpoint='https://mmassets.onedl.ai/mmpretrain/v1.0/dinov2/'
            'vit-base-p14_dinov2-pre_3rdparty_20230426-ba246503.pth')))

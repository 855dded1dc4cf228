# CLIP ViT-L/14, frozen: only low-rank adapters in its attention, the neck and the heads are trained.
_base_ = './iid_vit_b16_ffpp.py'

model = dict(
    # CLIP's own mean and standard deviation, RGB.
    data_preprocessor=dict(
        mean=[122.7709, 116.7460, 104.0937], std=[68.5005, 66.6322, 70.3232], bgr_to_rgb=True),
    backbone=dict(
        _delete_=True,
        type='LoRABackbone',
        rank=8,
        alpha=16,
        # The attention's projections of every block.
        targets=['attn.qkv', 'attn.proj'],
        module=dict(
            type='mmpretrain.VisionTransformer',
            arch='large',
            img_size=224,
            patch_size=14,
            pre_norm=True,
            norm_cfg=dict(type='LN', eps=1e-5),
            layer_cfgs=dict(act_cfg=dict(type='mmpretrain.QuickGELU')),
            out_type='featmap',
            out_indices=(5, 11, 17, 23),
            init_cfg=dict(
                type='Pretrained',
                checkpoint='https://mmassets.onedl.ai/mmclassification/v0/clip/'
                'vit-large-p14_clip-openai-pre_3rdparty_20230517-95e2af0b.pth',
                prefix='backbone'))),
    neck=dict(in_channels=[1024, 1024, 1024, 1024]),
    forgery_head=dict(in_channels=1024))

# Adapters start from zero and need larger steps than pretrained weights, without layer-wise decay of the rate.
optim_wrapper = dict(
    optimizer=dict(lr=1e-3, weight_decay=0.01),
    constructor='DefaultOptimWrapperConstructor',
    paramwise_cfg=dict(_delete_=True, norm_decay_mult=0.0, bias_decay_mult=0.0))

# Self-blended images with the artifact detection module, for a CPU: no fake of the dataset is used.
# Run with PYTHONPATH=projects/self_blended.
_base_ = '../../../configs/iid_r18_ffpp.py'
custom_imports = dict(imports=['iid_mm', 'self_blended'], allow_failed_imports=False)

size = (112, 112)
train_pipeline = [
    dict(type='LoadForgeryPair', cache_mib=1024),
    dict(type='AlignFace', size=size, jitter=dict(scale_std=0.05, shift=10, rotation=12)),
    dict(type='SelfBlendedImage'),
    dict(type='FlipFace', prob=0.5),
    dict(type='PackForgeryPair'),
]
train_dataloader = dict(
    batch_size=8,
    collate_fn=dict(type='iid_mm.collate_pairs'),
    dataset=dict(genuine_only=True, pipeline=train_pipeline))
model = dict(fused_level=0)

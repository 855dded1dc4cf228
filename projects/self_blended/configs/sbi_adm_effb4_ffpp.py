# Self-blended images with the artifact detection module, EfficientNet-b4 at 224 px; run with
# PYTHONPATH=projects/self_blended. A batch holds 64 genuine faces and as many fakes made of them.
_base_ = '../../../configs/iid_effb4_ffpp.py'
custom_imports = dict(imports=['iid_mm', 'self_blended'], allow_failed_imports=False)

train_pipeline = [
    dict(type='LoadForgeryPair'),
    dict(type='AlignFace', size=(224, 224), jitter=dict()),
    dict(type='SelfBlendedImage'),
    dict(type='DegradeFace', with_source=True),
    dict(type='FlipFace', prob=0.5),
    dict(type='PackForgeryPair'),
]
train_dataloader = dict(
    batch_size=64,
    collate_fn=dict(type='iid_mm.collate_pairs'),
    dataset=dict(genuine_only=True, pipeline=train_pipeline))

# Beyond the paper: every fake shares its batch with the genuine frame it was made from, aligned, mirrored and degraded
# alike, and the finest level of the ADM joins the global head, because the last one sees the whole face and can
# recognize people. projects/identity_leakage measures both on small datasets.
_base_ = './iid_effb4_slim_ffpp.py'

train_pipeline = [
    dict(type='LoadForgeryPair'),
    dict(type='AlignFace', size=(224, 224), jitter=dict()),
    # No genuine faces in fake frames: they would undo forgeries inside the face and leave two equal images.
    dict(type='MultiScaleFacialSwap', partial_prob=0.5, genuine_into_fake_prob=0, keep_fake_prob=0.6, min_kept_share=0.3),
    dict(type='DegradeFace', with_source=True),
    dict(type='FlipFace', prob=0.5),
    dict(type='PackForgeryPair'),
]
model = dict(fused_level=0)
# 64 fakes and their 64 genuine frames.
train_dataloader = dict(
    batch_size=64,
    collate_fn=dict(type='iid_mm.collate_pairs'),
    dataset=dict(paired_only=True, pipeline=train_pipeline))

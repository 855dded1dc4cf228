# The recipe chosen on the small set, at full size: EfficientNet-b4 at 224 px, slim ADM with boxes, pairs, half of them
# blended of two genuine people. Run with PYTHONPATH=projects/self_blended.
_base_ = '../../../configs/iid_effb4_paired_ffpp.py'
custom_imports = dict(imports=['iid_mm', 'self_blended'], allow_failed_imports=False)

train_pipeline = [
    dict(type='LoadForgeryPair'),
    dict(type='AlignFace', size=(224, 224), jitter=dict()),
    dict(type='MultiScaleFacialSwap', partial_prob=0.5, genuine_into_fake_prob=0, keep_fake_prob=0.6, min_kept_share=0.3),
    # Fakes pass unchanged; every genuine face is blended with that of another person.
    dict(type='LoadDonor', prob=1.0),
    dict(type='SelfBlendedImage', hulls=['face', 'brows_to_chin', 'inner']),
    dict(type='DegradeFace', with_source=True),
    dict(type='FlipFace', prob=0.5),
    dict(type='PackForgeryPair'),
]
train_dataloader = dict(
    # Half of FF++ at 32 frames in pairs: as many images an epoch as the other configs show.
    sampler=dict(_delete_=True, type='BalancedSampler', by=['label', 'method', 'video'], size=57600),
    dataset=dict(
        type='DonorForgeryDataset', paired_only=False, require_pair=True, pipeline=train_pipeline))

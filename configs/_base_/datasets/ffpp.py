# FaceForensics++ prepared by `tools/prepare_data.py ffpp`, 32 frames per video.
# Set IID_DATA_ROOT, or data_root here or on the command line, to the prepared folder. A child config may set
# backend_args = dict(backend='lmdb', db_path='{root}/images.lmdb') for all datasets, see docs/storage.md.
dataset_type = 'ForgeryDataset'
data_root = '{{$IID_DATA_ROOT:data/ffpp}}'
size = (224, 224)

train_pipeline = [
    dict(type='LoadForgeryPair'),
    dict(type='AlignFace', size=size, jitter=dict()),
    dict(type='MultiScaleFacialSwap'),
    dict(type='DegradeFace'),
    dict(type='FlipFace', prob=0.5),
    dict(type='PackForgeryInputs'),
]
test_pipeline = [
    dict(type='LoadForgeryPair', with_source=False),
    dict(type='AlignFace', size=size),
    dict(type='PackForgeryInputs'),
]

train_dataloader = dict(
    batch_size=128,
    num_workers=8,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='ResumableSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='index.parquet',
        split='train',
        seed=0,
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=128,
    num_workers=8,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='index.parquet',
        split='val',
        test_mode=True,
        pipeline=test_pipeline))
test_dataloader = dict(
    batch_size=128,
    num_workers=8,
    persistent_workers=False,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='index.parquet',
        split='test',
        test_mode=True,
        pipeline=test_pipeline))
val_evaluator = dict(type='ForgeryAUC')
test_evaluator = dict(type='ForgeryAUC')

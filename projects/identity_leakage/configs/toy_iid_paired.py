# IID in which every fake shares its batch with the genuine frame it was made from; the global head takes the
# finest level of the module.
_base_ = './toy_iid_local.py'

train_pipeline = [
    dict(type='LoadForgeryPair', cache_mib=1024),
    dict(type='AlignFace', size={{_base_.size}}, jitter={{_base_.jitter}}),
    {{_base_.swap}},
    dict(type='DegradeFace', probs={{_base_.degradation.probs}}, with_source=True),
    dict(type='FlipFace', prob=0.5),
    dict(type='PackForgeryPair'),
]
# Half of the items are fakes, so two of three images are genuine.
model = dict(forgery_head=dict(loss=dict(class_weight=[0.75, 1.5])))
train_dataloader = dict(collate_fn=dict(type='iid_mm.collate_pairs'), dataset=dict(pipeline=train_pipeline))

# Half of the items are pairs of images, so 16 epochs show as many images as 24 without pairs.
max_epochs = 16
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=True, end=1, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        begin=1,
        T_max=max_epochs - 1,
        end=max_epochs,
        eta_min=1e-5,
        convert_to_iter_based=True),
]

# The published recipe: AdamW, lr 3.6e-4 for epochs 0-3, 1e-4 for 4-9, then 5e-5; gradients clipped by value.
train_cfg = dict(type='ResumableEpochTrainLoop', max_epochs=200, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=3.6e-4, weight_decay=4e-3),
    clip_grad=dict(type='value', clip_value=2))
param_scheduler = [
    dict(type='ConstantLR', factor=1.0, by_epoch=True, begin=0, end=4),
    dict(type='MultiStepLR', by_epoch=True, milestones=[4], gamma=1 / 3.6),
    dict(type='MultiStepLR', by_epoch=True, milestones=[10], gamma=0.5),
]
# Batch size of the learning rate above; `--auto-scale-lr` scales the rate to the actual one.
auto_scale_lr = dict(enable=False, base_batch_size=128)

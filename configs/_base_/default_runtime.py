# Runtime settings that all configs share.
custom_imports = dict(imports=['iid_mm'], allow_failed_imports=False)
default_scope = 'iid_mm'

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='CheckpointHook',
        interval=1,
        max_keep_ckpts=3,
        # Within an epoch; a run that is killed loses at most this many iterations.
        iteration_interval=500,
        # Selected on the validation split of the source dataset; test sets are only reported.
        save_best='forgery/video_auc',
        rule='greater'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    # Each sample and each iteration has its own seed, so that resuming and the number of workers change nothing.
    reproducible_sampling=dict(type='ReproducibleSamplingHook'),
    host_memory=dict(type='HostMemoryHook'))

env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'))
randomness = dict(seed=0)
# 'torch': batch norm over the samples of all GPUs of a distributed run, see docs/scaling.md.
sync_bn = None

vis_backends = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
visualizer = dict(type='ForgeryVisualizer', vis_backends=vis_backends)
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=True)
log_level = 'INFO'
load_from = None
resume = False

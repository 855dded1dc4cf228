# The chosen recipe, and a moving average of the weights is kept and tested. Run with PYTHONPATH=projects/self_blended.
_base_ = './mini_iid_blended.py'

custom_hooks = [
    dict(type='ReproducibleSamplingHook'),
    dict(type='HostMemoryHook'),
    dict(type='IterationCheckpointHook', interval=500),
    dict(type='MissedValidationHook'),
    # Averages over about 200 of 1152 iterations, with the statistics of the norms.
    dict(type='EMAHook', momentum=0.005, update_buffers=True),
]

# Pairs, and a moving average of the weights is kept and tested.
_base_ = '../../identity_leakage/configs/real_baseline.py'

custom_hooks = [
    dict(type='ReproducibleSamplingHook'),
    dict(type='HostMemoryHook'),
    dict(type='IterationCheckpointHook', interval=500),
    dict(type='MissedValidationHook'),
    # Averages over about 200 of 1152 iterations, with the statistics of the norms.
    dict(type='EMAHook', momentum=0.005, update_buffers=True),
]

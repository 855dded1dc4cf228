# Pairs, with a moving average of the weights, which is tested.
_base_ = '../../identity_leakage/configs/real_baseline.py'

# Averages over about 200 of 1152 iterations, including the statistics of the norms.
custom_hooks = [dict(type='EMAHook', momentum=0.005, update_buffers=True)]

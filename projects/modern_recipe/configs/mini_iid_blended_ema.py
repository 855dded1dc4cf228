# The chosen recipe with a moving average of the weights, which is tested. Run with PYTHONPATH=projects/self_blended.
_base_ = './mini_iid_blended.py'

# Averages over about 200 of 1152 iterations, including the statistics of the norms.
custom_hooks = [dict(type='EMAHook', momentum=0.005, update_buffers=True)]

# IID whose global head takes the last level of the module, as published.
_base_ = './real_iid.py'

model = dict(fused_level=-1)

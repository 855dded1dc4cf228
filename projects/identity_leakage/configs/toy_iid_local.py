# IID whose global head takes the finest level of the module, which does not see the whole face.
_base_ = './toy_iid.py'

model = dict(fused_level=0)

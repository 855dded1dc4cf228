# The plain classifier: neither artifact detection module nor facial swaps; alignment and degradation are equal.
_base_ = './real_adm.py'

model = dict(neck=None, artifact_head=None, forgery_head=dict(artifact_channels=None))

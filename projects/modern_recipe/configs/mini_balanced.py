# The plain classifier with classes, manipulations and videos in equal parts.
_base_ = './mini_plain.py'

train_dataloader = dict(
    sampler=dict(_delete_=True, type='BalancedSampler', by=['label', 'method', 'video']))

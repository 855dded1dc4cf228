# The published model and recipe: EfficientNet-b4 on FaceForensics++ c23.
_base_ = [
    '_base_/models/iid_effb4.py',
    '_base_/datasets/ffpp.py',
    '_base_/schedules/iid_200e.py',
    '_base_/default_runtime.py',
]

# Pairs, with sharpness-aware steps: twice the time for as many images.
# Run with PYTHONPATH=projects/modern_recipe.
_base_ = '../../identity_leakage/configs/real_baseline.py'
custom_imports = dict(imports=['iid_mm', 'modern_recipe'], allow_failed_imports=False)

train_cfg = dict(type='SAMTrainLoop')
optim_wrapper = dict(_delete_=True, type='SAMOptimWrapper', dtype='bfloat16', rho=0.05,
                     optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-2),
                     clip_grad=dict(type='value', clip_value=2))

# CLIP ViT-L/14 with LoRA in shards: every process keeps a part of each block and gathers it when it is its turn.
# Train with tools/dist_train.sh or tools/slurm_train.sh; test like any other config. docs/scaling.md tells when it pays.
_base_ = './iid_clip_l14_lora_ffpp.py'

runner_type = 'FlexibleForgeryRunner'
strategy = dict(
    type='ForgeryFSDPStrategy',
    model_wrapper=dict(
        # Adapters are trained and what they adapt is frozen: their parameters must stay apart.
        use_orig_params=True,
        auto_wrap_policy=dict(type='wrap_layers', layers=['TransformerEncoderLayer'])))
# bfloat16 in the forward pass; needs a GPU from Ampere on, or a CPU.
optim_wrapper = dict(type='BFloat16OptimWrapper')

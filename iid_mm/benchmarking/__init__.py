# SPDX-License-Identifier: Apache-2.0
"""Speed of models, training, inference and preparation, against a baseline measured in the same run."""

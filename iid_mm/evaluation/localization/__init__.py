# SPDX-License-Identifier: Apache-2.0
"""Does the detector look at the artifact?"""

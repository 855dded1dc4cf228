# SPDX-License-Identifier: Apache-2.0
"""Image arithmetic behind the transforms: pure functions on arrays that draw nothing themselves."""

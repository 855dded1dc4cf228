# SPDX-License-Identifier: Apache-2.0
"""A web page that says of images and videos whether their faces are fake."""

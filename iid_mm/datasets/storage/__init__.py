# SPDX-License-Identifier: Apache-2.0
"""Where images are read from, if not from files: LMDB, HTTP, object storage."""

NOTE_KEY = '\0iid_mm'
"""Key of what an LMDB database says about itself (JSON); no path of an index can have this name."""

# SPDX-License-Identifier: Apache-2.0
"""A Glance store that can do what the RBD store can: whole reads and writes, no ranges.

It keeps files on disk, but has the capabilities of ``glance_store._drivers.rbd``, so that
Glance itself refuses a Range with 400. Glance finds it through the ``rbdlike-1.0.dist-info``
beside it; nothing is installed.
"""

from glance_store import capabilities
from glance_store._drivers import filesystem

# glance_store looks for this name in the module of the driver.
StoreLocation = filesystem.StoreLocation


class Store(filesystem.Store):
    """The file store, without random access."""

    _CAPABILITIES = capabilities.BitMasks.RW_ACCESS

    def get_schemes(self):
        """A store's type must be one of its schemes; its locations stay file:// URLs."""
        return ("rbdlike", *super().get_schemes())

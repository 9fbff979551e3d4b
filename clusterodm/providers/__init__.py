"""What a provider of your own is written with: docs/providers.md.

    class Provider(Vendor):    # by `read` and `make` its own VendorKind
        ...

    [project.entry-points."clusterodm.providers"]
    mycloud = "mypackage:Provider"

These names stay; everything else of ClusterODM may change. `clusterodm.providers.http` is for providers with an HTTP API.
"""

from clusterodm.libs.common.errors import ProviderFailed, Refused, Trouble
from clusterodm.libs.common.model.values import MachineId
from clusterodm.libs.common.secret import Secret
from clusterodm.services.autoscaler.config.core.configuration import StepTimeouts
from clusterodm.services.autoscaler.config.core.reader import ObjectReader
from clusterodm.services.autoscaler.orders import Launch, Offer, Order, ProviderMachine, Size, masked
from clusterodm.services.autoscaler.providers.core.catalogue import Catalogue
from clusterodm.services.autoscaler.providers.core.cloud_init import user_data
from clusterodm.services.autoscaler.providers.core.order_words import (
    flat_tags,
    labels,
    node_configuration,
    node_words,
    pairs,
    secrets_of,
)
from clusterodm.services.autoscaler.providers.ports import Vendor, VendorContext, VendorKind

__all__ = [
    "Catalogue",
    "Launch",
    "MachineId",
    "ObjectReader",
    "Offer",
    "Order",
    "ProviderFailed",
    "ProviderMachine",
    "Refused",
    "Secret",
    "Size",
    "StepTimeouts",
    "Trouble",
    "Vendor",
    "VendorContext",
    "VendorKind",
    "flat_tags",
    "labels",
    "masked",
    "node_configuration",
    "node_words",
    "pairs",
    "secrets_of",
    "user_data",
]

"""The providers of the file, by their names: a machine is created, looked up and destroyed by its own, and by no other."""

from collections.abc import Iterator, Mapping

from clusterodm.libs.common.errors import ProviderFailed
from clusterodm.services.autoscaler.providers.ports import Provider


class ProviderRegistry(Mapping[str, Provider]):
    """All providers of the file, in its order."""

    def __init__(self, providers: Mapping[str, Provider]) -> None:
        """Take them; at least one."""
        self._providers = dict(providers)

    def __getitem__(self, name: str) -> Provider:
        """Find one."""
        return self._providers[name]

    def __iter__(self) -> Iterator[str]:
        """Give the names."""
        return iter(self._providers)

    def __len__(self) -> int:
        """Count them."""
        return len(self._providers)

    def of(self, provider: str) -> Provider:
        """Give the provider of a machine. Raises ProviderFailed where the file has it no more.

        No other answers for it, not even one that is alone: it would say of machines elsewhere that they are not there.
        """
        found = self._providers.get(provider)
        if found is None:
            raise ProviderFailed(
                f"the file has no provider {provider!r} any more: it has to stay until its machines are gone"
            )
        return found

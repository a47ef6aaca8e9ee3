"""With all extras together: every part can be imported."""

import pkgutil
from importlib import import_module

import wavespeed_async

for module in pkgutil.walk_packages(wavespeed_async.__path__, "wavespeed_async."):
    if module.name not in {"wavespeed_async._pytest_plugin", "wavespeed_async.__main__"}:
        import_module(module.name)

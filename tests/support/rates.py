"""What a machine does in a second, for settings and plans that need some such table."""

from autox3d.core.device_table import Rates

RATES = Rates(
    device="x",
    measured="x",
    train=10.0,
    forward=30.0,
    transcode=3.0,
    clips=200.0,
    megabytes=0.1,
    cores=2,
    disk=1e9,
)

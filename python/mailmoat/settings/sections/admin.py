"""`[admin]`: metrics and health over HTTP."""

from typing import Annotated

from pydantic import BeforeValidator, Field, PlainValidator

from mailmoat.settings import notation, values
from mailmoat.settings.listener import admin_listen
from mailmoat.settings.notation import Form
from mailmoat.settings.section import Section


class AdminSettings(Section):
    """Metrics and health over HTTP."""

    listen: Annotated[
        str,
        PlainValidator(admin_listen),
        Form("an address with a port such as 127.0.0.1:8025, or off", notation.show_or_off),
    ] = Field(default="127.0.0.1:8025", description="Address and port for /metrics and /healthz. `off` = nowhere.")
    hosts: Annotated[
        tuple[Annotated[str, PlainValidator(values.host_name)], ...],
        BeforeValidator(values.items),
        Form("names such as mail.internal, separated by commas", notation.show),
    ] = Field(
        default=(),
        description="Names under which /metrics and /healthz can be requested, in addition to IP addresses, `hostname` and names without a dot.",
    )

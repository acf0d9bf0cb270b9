"""MQTT 3.1.1: JSON to a broker, hands under `usthand/hands` and events under `usthand/events`, at most once (QoS 0)."""

import logging
import socket
from typing import Any

from paho.mqtt.client import MQTT_ERR_SUCCESS, Client, MQTTMessageInfo
from paho.mqtt.enums import CallbackAPIVersion

from app.streams.json_message import end_json, event_json, hands_json
from app.streams.kinds import StreamAddress
from app.streams.streamed import StreamContext, StreamedSet
from app.transport.messages import Event
from calibration.errors import UserError, reason_of

log = logging.getLogger(__name__)

HANDS_TOPIC, EVENTS_TOPIC = "usthand/hands", "usthand/events"
_LONGEST_RETRY_S = 5
_CLOSE_S = 0.5


class MqttSender:
    """A StreamSender. A broker that takes nothing more gets the newest hands when it does again.

    Raises UserError where no broker answers; one that goes away later is joined again.
    """

    def __init__(self, address: StreamAddress, context: StreamContext) -> None:
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.reconnect_delay_set(1, _LONGEST_RETRY_S)
        self._client.on_disconnect = lambda *_: log.warning("%s: the broker is gone; it is tried again", address)
        self._client.on_socket_open = _send_at_once
        try:
            self._client.connect(address.host, address.port)
        except OSError as error:
            raise UserError(f"{address}: no broker answers there ({reason_of(error)}).") from None
        self._client.loop_start()
        self._last: MQTTMessageInfo | None = None

    def send(self, poses: StreamedSet) -> None:
        # What was not written to the broker's connection yet waits; no more is put behind it.
        if self._last is not None and self._last.rc == MQTT_ERR_SUCCESS and not self._last.is_published():
            return
        self._last = self._client.publish(HANDS_TOPIC, hands_json(poses))

    def tell(self, event: Event) -> None:
        self._client.publish(EVENTS_TOPIC, event_json(event))

    def close(self) -> None:
        last = self._client.publish(EVENTS_TOPIC, end_json())
        if last.rc == MQTT_ERR_SUCCESS:
            last.wait_for_publish(_CLOSE_S)
        self._client.on_disconnect = None
        self._client.disconnect()
        self._client.loop_stop()


def _send_at_once(_client: Client, _data: object, connection: Any) -> None:
    """Not when the broker has acknowledged the set before."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

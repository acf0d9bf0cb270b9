"""Hands to other programs while they move: OSC, VMC, LSL, WebSocket, UDP and MQTT."""

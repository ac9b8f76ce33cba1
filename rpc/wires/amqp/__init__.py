"""Calls over RabbitMQ."""

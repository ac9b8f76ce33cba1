"""Typed services: interfaces, components that implement them, and proxies that call them wherever they run."""

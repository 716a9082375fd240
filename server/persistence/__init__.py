"""Connects rooms with the stores: saves of durable rooms, and transactions of inventories and profiles."""

"""The controllers of the admin API, one module for each kind of resource."""

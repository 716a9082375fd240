"""The services around the rooms, as libraries: rules, stores and HTTP operations. `tickwire api` serves them."""

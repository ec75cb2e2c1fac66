"""How a service fails when the services that it calls do."""

"""The ground floor: command line, files, the Hub, models, devices. It knows none of the other folders."""

#!/bin/sh
# Before a removal, which is no upgrade, the service ends: dpkg calls this with
# remove, rpm with the number of versions that stay.
case "$1" in
remove | 0)
	if [ -d /run/systemd/system ]; then
		systemctl disable --now duo_in.service
	fi
	;;
esac
exit 0

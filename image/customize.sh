#!/bin/sh
# What mmdebstrap does at the end, in the new root file system $1; $2 is the unpacked release, $3 the architecture.
set -eu
root=$1 release=$2 arch=$3
here=$(dirname "$0")

# Ours, whoever builds: not the owners and modes of the source tree.
cp -r --no-preserve=mode,ownership "$here/overlay/." "$root/"
chmod 0755 "$root/usr/lib/gateway/appliance.py"

# The same installer as everywhere; no systemd runs here, so it only lays things out.
cp -r "$release" "$root/opt/release"
chroot "$root" python3 /opt/release/install.py
rm -r "$root/opt/release"

card=/boot/efi
[ "$arch" = amd64 ] || card=/boot/firmware
cat > "$root/etc/fstab" <<EOF
LABEL=gw-root   /                 ext4  noatime,errors=remount-ro          0 1
LABEL=GW-BOOT   $card             vfat  noatime,umask=0077                 0 2
LABEL=gw-state  /var/lib/gateway  ext4  noatime,nosuid,nodev,noexec        0 2
tmpfs           /tmp              tmpfs noatime,nosuid,nodev,size=25%      0 0
EOF
mkdir -p "$root$card" "$root/var/lib/gateway"

case $arch in
amd64)
    mkdir -p "$root/boot/efi/EFI/BOOT" "$root/boot/efi/EFI/systemd" "$root/boot/efi/loader"
    for place in EFI/BOOT/BOOTX64.EFI EFI/systemd/systemd-bootx64.efi; do
        cp "$root/usr/lib/systemd/boot/efi/systemd-bootx64.efi.signed" "$root/boot/efi/$place"
    done
    echo "timeout 0" > "$root/boot/efi/loader/loader.conf"
    for kernel in "$root"/boot/vmlinuz-*; do
        version=${kernel##*/vmlinuz-}
        chroot "$root" env BOOT_ROOT=/boot/efi kernel-install add "$version" "/boot/vmlinuz-$version"
    done
    # Nothing is mounted there yet, so the names are those in the system and not those in the partition.
    sed -i 's#/boot/efi/#/#' "$root"/boot/efi/loader/entries/*.conf
    ;;
arm64)
    # raspi-firmware writes cmdline.txt from this whenever there is a new kernel. It cannot see here that it is not to
    # reserve memory, which keeps a Raspberry Pi 4 from starting.
    printf 'ROOTPART=LABEL=gw-root\nCONSOLES="tty0 ttyS1,115200"\nCMA=0\n' > "$root/etc/default/raspi-firmware"
    echo "panic=10 audit=0" > "$root/etc/default/raspi-extra-cmdline"
    chroot "$root" env DEB_MAINT_PARAMS=configure /etc/kernel/postinst.d/z50-raspi-firmware
    rm -r "$root/etc/kernel/cmdline" "$root/etc/kernel/install.conf" "$root/etc/kernel/entry-token"
    ;;
esac

echo gateway > "$root/etc/hostname"
printf '127.0.0.1 localhost\n127.0.1.1 gateway\n::1 localhost\n' > "$root/etc/hosts"
chroot "$root" systemctl enable gateway-card gateway-grow systemd-networkd systemd-resolved systemd-timesyncd
ln -sf /run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"

# No identity of its own: each box makes one when it starts for the first time.
rm -f "$root"/etc/ssh/ssh_host_* "$root/var/lib/dbus/machine-id" "$root/var/lib/systemd/random-seed"

//! Files as Debian ships them (abridged), edited as an administrator would.

use std::path::Path;

use proptest::prelude::*;

use super::*;

const SSHD: &str = "# This is the sshd server system-wide configuration file.\n\nInclude /etc/ssh/sshd_config.d/*.conf\n\n#Port 22\nPermitRootLogin no\nKbdInteractiveAuthentication no\nUsePAM yes\nX11Forwarding yes\nPrintMotd no\nAllowUsers alice bob\nAcceptEnv LANG LC_*\nSubsystem\tsftp\t/usr/lib/openssh/sftp-server\n\nMatch User backup\n\tPermitTTY no\n\tForceCommand internal-sftp\n";
const SUDOERS: &str = "#\n# This file MUST be edited with the 'visudo' command as root.\n#\nDefaults\tenv_reset\nDefaults\tmail_badpass\nDefaults\tsecure_path=\"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin\"\nDefaults\tuse_pty\n\nCmnd_Alias WEB = /usr/sbin/service nginx restart, /usr/bin/tail\n\n# User privilege specification\nroot\tALL=(ALL:ALL) ALL\n\n# Allow members of group sudo to execute any command\n%sudo\tALL=(ALL:ALL) ALL\n\n@includedir /etc/sudoers.d\n";
const PAM: &str = "#\n# /etc/pam.d/common-auth\n#\n# here are the per-package modules (the \"Primary\" block)\nauth\t[success=1 default=ignore]\tpam_unix.so nullok\n# here's the fallback if no module succeeds\nauth\trequisite\t\t\tpam_deny.so\nauth\trequired\t\t\tpam_permit.so\nauth\toptional\t\t\tpam_cap.so \n@include common-account\n";
const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\nwww-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\nalice:x:1000:1000:Alice,,,:/home/alice:/bin/bash\n";
const GROUP: &str = "root:x:0:\nadm:x:4:syslog\nsudo:x:27:alice\nshadow:x:42:\n";
const FSTAB: &str = "# /etc/fstab: static file system information.\nUUID=aa0 /               ext4    errors=remount-ro 0       1\n/dev/sdb1 /srv xfs defaults,nosuid 0 2\n/dev/sda5 none            swap    sw              0       0\n";
const HOSTS: &str = "127.0.0.1\tlocalhost\n127.0.1.1\tdebian.example.org debian\n10.0.0.4 db.internal\n\n# The following lines are desirable for IPv6 capable hosts\n::1     localhost ip6-localhost ip6-loopback\n";
const RESOLV: &str =
    "domain example.org\nsearch example.org\nnameserver 10.0.0.1\nnameserver 10.0.0.2\noptions edns0\n";
const NSSWITCH: &str = "# /etc/nsswitch.conf\n\npasswd:         files systemd\ngroup:          files systemd\nhosts:          files dns\n";
const SYSCTL: &str = "# Uncomment the next line to enable packet forwarding for IPv4\n#net.ipv4.ip_forward=1\nnet.ipv4.conf.all.rp_filter=1\nkernel.kptr_restrict = 2\n-net/ipv4/tcp_syncookies = 1\n";
const CRONTAB: &str = "SHELL=/bin/sh\nPATH=/usr/local/sbin:/usr/sbin:/usr/bin\n\n# m h dom mon dow user\tcommand\n17 *\t* * *\troot\tcd / && run-parts --report /etc/cron.hourly\n25 6\t* * *\troot\ttest -x /usr/sbin/anacron || run-parts /etc/cron.daily\n";
const UNIT: &str = "[Unit]\nDescription=OpenBSD Secure Shell server\nAfter=network.target auditd.service\n\n[Service]\nEnvironmentFile=-/etc/default/ssh\nExecStartPre=/usr/sbin/sshd -t\nExecStart=/usr/sbin/sshd -D $SSHD_OPTS\nKillMode=process\nRestart=on-failure\n\n[Install]\nWantedBy=multi-user.target\n";
const SOURCES: &str = "deb http://deb.sample.org/debian bookworm main\ndeb http://deb.sample.org/debian bookworm-updates main\n# deb-src http://deb.sample.org/debian bookworm main\ndeb [signed-by=/usr/share/keyrings/x.gpg] https://x.example stable main\n";
const DEB822: &str = "Types: deb\nURIs: http://deb.sample.org/debian\nSuites: trixie trixie-updates\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\nTypes: deb\nURIs: http://deb.sample.org/debian-security\nSuites: trixie-security\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n";
const PROFILE: &str = "# /etc/default/grub\nGRUB_DEFAULT=0\nGRUB_TIMEOUT=5\nGRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\nif [ -f x ]; then\n  . x\nfi\nexport EDITOR=vi\n";
const LOGIN_DEFS: &str = "#\n# Password aging controls:\nPASS_MAX_DAYS\t99999\nPASS_MIN_DAYS\t0\nUMASK\t\t022\nENCRYPT_METHOD SHA512\n";
const MODPROBE: &str =
    "blacklist pcspkr\noptions snd-hda-intel power_save=1 model=auto\ninstall dccp /bin/false\n";
const DAEMON_JSON: &str = "{\n  \"log-driver\": \"json-file\",\n  \"log-opts\": {\"max-size\": \"10m\", \"max-file\": 3},\n  \"hosts\": [\"unix:///run/d.sock\", \"fd://\"],\n  \"mirrors\": [{\"url\": \"https://m.example\"}]\n}\n";
const TOML: &str = "# the runner's\nconcurrent = 4\n\n[[runners]]\nname = \"one\"\ntoken = \"hunter2hunter2\"\n[runners.docker]\nimage = \"debian:12\"\nvolumes = [\"/cache\"]\n";
const YAML: &str = "network:\n  version: 2\n  renderer: networkd\n  ethernets:\n    eth0:\n      dhcp4: true # for now\n      addresses:\n        - 10.0.0.2/24\n        - 10.0.0.3/24\nusers:\n- name: alice\n  shell: /bin/bash\nmotd: |\n  Hello\n  World\n";
const CONF: &str = "# /etc/adduser.conf\nDSHELL=/bin/bash\nFIRST_UID=1000\nDB_PASSWORD=hunter2\n";

/// One edit: where, of which kind, in which text, what instead of what, and what is told.
type Edit<'a> = (&'a str, Kind, &'a str, &'a str, &'a str, &'a [&'a str]);

#[rustfmt::skip]
const EDITS: &[Edit<'_>] = &[
    ("/etc/ssh/sshd_config", Kind::Config, SSHD, "PermitRootLogin no", "PermitRootLogin yes", &["PermitRootLogin no -> yes"]),
    ("/etc/ssh/sshd_config", Kind::Config, SSHD, "PermitRootLogin no", "permitrootlogin   yes", &["permitrootlogin no -> yes"]),
    ("/etc/ssh/sshd_config", Kind::Config, SSHD, "#Port 22", "Port 2222", &["Port 2222 added"]),
    ("/etc/ssh/sshd_config", Kind::Config, SSHD, "UsePAM yes\n", "", &["UsePAM yes removed"]),
    ("/etc/ssh/sshd_config", Kind::Config, SSHD, "UsePAM yes\n", "UsePAM yes\nPasswordAuthentication yes\n", &["PasswordAuthentication yes added"]),
    ("/etc/ssh/sshd_config", Kind::Config, SSHD, "alice bob", "alice mallory", &["AllowUsers mallory added, bob removed"]),
    ("/etc/ssh/sshd_config", Kind::Config, SSHD, "\tPermitTTY no", "\tPermitTTY yes", &["Match User backup: PermitTTY no -> yes"]),
    ("/etc/ssh/sshd_config", Kind::Config, SSHD, "#Port 22", "#Port 23", &[ONLY_COMMENTS]),
    ("/etc/ssh/sshd_config", Kind::Config, SSHD, "UsePAM yes", "UsePAM  yes", &[ONLY_SPACE]),
    ("/etc/ssh/sshd_config", Kind::Config, SSHD, "UsePAM yes\n", "\n\nUsePAM yes\n", &[ONLY_COMMENTS]),
    ("/etc/ssh/sshd_config", Kind::Config, SSHD, "UsePAM yes\nX11Forwarding yes", "X11Forwarding yes\nUsePAM yes", &["order changed: X11Forwarding now before UsePAM"]),
    ("/etc/ssh/sshd_config.d/50-cloud.conf", Kind::Config, "PasswordAuthentication no\n", "no", "yes", &["PasswordAuthentication no -> yes"]),
    ("/etc/ssh/ssh_config", Kind::Config, "Host *\n    ForwardAgent no\n    StrictHostKeyChecking ask\n", "ForwardAgent no", "ForwardAgent yes", &["Host *: ForwardAgent no -> yes"]),
    ("/etc/sudoers", Kind::Config, SUDOERS, "%sudo\tALL=(ALL:ALL) ALL", "%sudo\tALL=(ALL:ALL) NOPASSWD: ALL", &["%sudo: ALL=(ALL:ALL) ALL -> ALL=(ALL:ALL) NOPASSWD: ALL"]),
    ("/etc/sudoers", Kind::Config, SUDOERS, "@includedir", "bob ALL=(root) /usr/bin/apt\n@includedir", &["bob: ALL=(root) /usr/bin/apt added"]),
    ("/etc/sudoers", Kind::Config, SUDOERS, "Defaults\tuse_pty\n", "", &["Defaults use_pty: on removed"]),
    ("/etc/sudoers", Kind::Config, SUDOERS, "Defaults\tuse_pty", "Defaults\t!use_pty", &["Defaults use_pty: on -> off"]),
    ("/etc/sudoers", Kind::Config, SUDOERS, "secure_path=\"/usr/local/sbin:", "secure_path=\"/opt:/usr/local/sbin:", &["Defaults secure_path: /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin -> /opt:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"]),
    ("/etc/sudoers", Kind::Config, SUDOERS, ", /usr/bin/tail", ", /usr/bin/vi", &["Cmnd_Alias WEB: /usr/bin/vi added, /usr/bin/tail removed"]),
    ("/etc/sudoers.d/x", Kind::Config, "#1000 ALL=ALL\n#includedir /x\n", "#includedir /x\n", "#includedir /y\n", &["@includedir /x removed", "@includedir /y added"]),
    ("/etc/pam.d/common-auth", Kind::Config, PAM, "auth\trequisite\t\t\tpam_deny.so", "auth\tsufficient\t\t\tpam_deny.so", &["auth pam_deny.so: control requisite -> sufficient"]),
    ("/etc/pam.d/common-auth", Kind::Config, PAM, "pam_unix.so nullok", "pam_unix.so", &["auth pam_unix.so: arguments nullok removed"]),
    ("/etc/pam.d/common-auth", Kind::Config, PAM, "@include", "auth required pam_tally2.so deny=3\n@include", &["auth pam_tally2.so added (control required, arguments deny=3)"]),
    ("/etc/pam.d/common-auth", Kind::Config, PAM, "auth\trequisite\t\t\tpam_deny.so\nauth\trequired\t\t\tpam_permit.so", "auth\trequired\t\t\tpam_permit.so\nauth\trequisite\t\t\tpam_deny.so", &["order changed: auth pam_permit.so now before auth pam_deny.so"]),
    ("/etc/passwd", Kind::Config, PASSWD, "alice:x:1000", "toor:x:0:0::/root:/bin/sh\nalice:x:1000", &["account toor added (uid 0, gid 0, password in the shadow file, home /root, shell /bin/sh)"]),
    ("/etc/passwd", Kind::Config, PASSWD, "/var/www:/usr/sbin/nologin", "/var/www:/bin/bash", &["account www-data: shell /usr/sbin/nologin -> /bin/bash"]),
    ("/etc/passwd", Kind::Config, PASSWD, "alice:x:1000:1000:Alice,,,:/home/alice:/bin/bash\n", "", &["account alice removed (uid 1000, gid 1000, password in the shadow file, comment Alice,,,, home /home/alice, shell /bin/bash)"]),
    ("/etc/passwd", Kind::Config, PASSWD, "alice:x:1000:", "alice::0:", &["account alice: uid 1000 -> 0", "account alice: password in the shadow file -> none needed"]),
    ("/etc/passwd", Kind::Config, PASSWD, "alice:x:", "alice:abJnggxhB/yWI:", &["account alice: password in the shadow file -> here"]),
    ("/etc/group", Kind::Config, GROUP, "sudo:x:27:alice", "sudo:x:27:alice,mallory", &["group sudo: members mallory added"]),
    ("/etc/group", Kind::Config, GROUP, "shadow:x:42:\n", "shadow:x:42:\ndocker:x:999:alice\n", &["group docker added (gid 999, password in the shadow file, members alice)"]),
    ("/etc/subuid", Kind::Config, "alice:100000:65536\n", "100000", "200000", &["alice: 65536 from 100000 -> 65536 from 200000"]),
    ("/etc/fstab", Kind::Config, FSTAB, "defaults,nosuid", "defaults,suid,noexec", &["mount /srv: options noexec, suid added, nosuid removed"]),
    ("/etc/fstab", Kind::Config, FSTAB, "/dev/sda5 none", "/dev/sdc1 /data ext4 ro 0 2\n/dev/sda5 none", &["mount /data added (device /dev/sdc1, type ext4, options ro, dump 0, pass 2)"]),
    ("/etc/fstab", Kind::Config, FSTAB, "/dev/sda5 none            swap    sw              0       0\n", "", &["swap /dev/sda5 removed (device /dev/sda5, type swap, options sw, dump 0, pass 0)"]),
    ("/etc/hosts", Kind::Config, HOSTS, "10.0.0.4", "10.66.6.6", &["db.internal: 10.0.0.4 -> 10.66.6.6"]),
    ("/etc/hosts", Kind::Config, HOSTS, "::1 ", "203.0.113.9 deb.sample.org\n::1 ", &["deb.sample.org: 203.0.113.9 added"]),
    ("/etc/resolv.conf", Kind::Config, RESOLV, "nameserver 10.0.0.2", "nameserver 8.8.8.8", &["nameserver 10.0.0.2 -> 8.8.8.8"]),
    ("/etc/resolv.conf", Kind::Config, RESOLV, "nameserver 10.0.0.1\nnameserver 10.0.0.2", "nameserver 10.0.0.2\nnameserver 10.0.0.1", &["order changed: nameserver 10.0.0.2 now before nameserver 10.0.0.1"]),
    ("/etc/resolv.conf", Kind::Config, RESOLV, "options edns0", "options edns0 rotate", &["options rotate added"]),
    ("/etc/nsswitch.conf", Kind::Config, NSSWITCH, "passwd:         files systemd", "passwd:         files ldap", &["passwd: files systemd -> files ldap"]),
    ("/etc/sysctl.d/10-net.conf", Kind::Config, SYSCTL, "#net.ipv4.ip_forward=1", "net.ipv4.ip_forward=1", &["net.ipv4.ip_forward: 1 added"]),
    ("/etc/sysctl.conf", Kind::Config, SYSCTL, "kptr_restrict = 2", "kptr_restrict = 0", &["kernel.kptr_restrict: 2 -> 0"]),
    ("/etc/sysctl.conf", Kind::Config, SYSCTL, "-net/ipv4/tcp_syncookies = 1", "net.ipv4.tcp_syncookies = 0", &["net.ipv4.tcp_syncookies: 1 -> 0"]),
    ("/etc/crontab", Kind::Config, CRONTAB, "17 *\t* * *", "*/5 * * * *", &["job \"cd / && run-parts --report /etc/cron.hourly\": schedule 17 * * * * -> */5 * * * *"]),
    ("/etc/crontab", Kind::Config, CRONTAB, "25 6\t", "@reboot nobody /tmp/.x\n25 6\t", &["job \"/tmp/.x\" added (schedule @reboot, user nobody)"]),
    ("/etc/crontab", Kind::Config, CRONTAB, "SHELL=/bin/sh", "SHELL=/bin/bash", &["SHELL: /bin/sh -> /bin/bash"]),
    ("/etc/cron.d/x", Kind::Config, "* * * * * root backup --password hunter2\n", "root", "www-data", &["job \"backup --password ***\": user root -> www-data"]),
    ("/var/spool/cron/crontabs/alice", Kind::Text, "0 1 * * * bin/backup\n", "0 1", "30 2", &["job \"bin/backup\": schedule 0 1 * * * -> 30 2 * * *"]),
    ("/etc/systemd/system/ssh.service", Kind::SystemdUnit, UNIT, "Restart=on-failure", "Restart=always", &["Service.Restart: on-failure -> always"]),
    ("/etc/systemd/system/ssh.service", Kind::SystemdUnit, UNIT, "KillMode=process", "ExecStartPre=/bin/true\nKillMode=process", &["Service.ExecStartPre: /bin/true added"]),
    ("/etc/systemd/system/ssh.service", Kind::SystemdUnit, UNIT, "ExecStart=/usr/sbin/sshd -D", "ExecStart=\\\n /tmp/sshd -D", &["Service.ExecStart: /usr/sbin/sshd -D $SSHD_OPTS -> /tmp/sshd -D $SSHD_OPTS"]),
    ("/etc/systemd/system/a.service", Kind::SystemdUnit, UNIT, "KillMode=process", "User=nobody", &["Service.KillMode: process removed", "Service.User: nobody added"]),
    ("/etc/php.ini", Kind::Ini, "[PHP]\n; On or Off\nexpose_php = On\nauth_key = abc123abc123abc123\n", "expose_php = On", "expose_php = Off", &["PHP.expose_php: On -> Off"]),
    ("/etc/php.ini", Kind::Ini, "[PHP]\nauth_key = abc123abc123abc123\n", "abc123abc123abc123", "xyz123xyz123xyz124", &["PHP.auth_key: changed (values not shown)"]),
    ("/etc/apt/sources.list", Kind::Config, SOURCES, "debian bookworm main", "debian trixie main", &["deb http://deb.sample.org/debian: suite bookworm -> trixie"]),
    ("/etc/apt/sources.list", Kind::Config, SOURCES, "debian bookworm main", "debian bookworm main non-free", &["deb http://deb.sample.org/debian: components non-free added"]),
    ("/etc/apt/sources.list", Kind::Config, SOURCES, "signed-by=/usr/share/keyrings/x.gpg", "trusted=yes", &["deb https://x.example: options trusted=yes added, signed-by=/usr/share/keyrings/x.gpg removed"]),
    ("/etc/apt/sources.list.d/d.list", Kind::Config, SOURCES, "deb [", "deb https://me:hunter2@apt.example stable main\ndeb [", &["deb https://me:***@apt.example added (suite stable, components main)"]),
    ("/etc/apt/sources.list.d/debian.sources", Kind::Config, DEB822, "Suites: trixie-security", "Suites: forky-security", &["source 2 Suites: forky-security added, trixie-security removed"]),
    ("/etc/apt/sources.list.d/debian.sources", Kind::Config, DEB822, "Components: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n", "Components: main\n contrib\nTrusted: yes\n\n", &["Components: contrib added", "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg removed", "Trusted: yes added"]),
    ("/etc/default/grub", Kind::Config, PROFILE, "DEFAULT=\"quiet\"", "DEFAULT=\"quiet mitigations=off\"", &["GRUB_CMDLINE_LINUX_DEFAULT: quiet -> quiet mitigations=off"]),
    ("/etc/default/grub", Kind::Config, PROFILE, "  . x", "  . y", &["other line \". x\" -> \". y\""]),
    ("/etc/environment", Kind::Config, "PATH=\"/usr/bin\"\n", "PATH=\"/usr/bin\"\n", "PATH=\"/usr/bin\"\nAPI_TOKEN=hunter2\n", &["API_TOKEN: *** added"]),
    ("/root/.bashrc", Kind::Text, PROFILE, "EDITOR=vi", "EDITOR=emacs", &["EDITOR: vi -> emacs"]),
    ("/etc/login.defs", Kind::Config, LOGIN_DEFS, "PASS_MAX_DAYS\t99999", "PASS_MAX_DAYS\t90", &["PASS_MAX_DAYS 99999 -> 90"]),
    ("/etc/login.defs", Kind::Config, LOGIN_DEFS, "022", "000", &["UMASK 022 -> 000"]),
    ("/etc/ld.so.preload", Kind::Config, "", "", "/usr/lib/evil.so\n", &["/usr/lib/evil.so added"]),
    ("/etc/ld.so.conf.d/x.conf", Kind::Config, "/usr/local/lib\n", "/usr/local/lib\n", "/tmp/lib\n/usr/local/lib\n", &["/tmp/lib added"]),
    ("/etc/modules", Kind::Config, "# modules\nloop\n", "loop\n", "", &["loop removed"]),
    ("/etc/modprobe.d/x.conf", Kind::Config, MODPROBE, "blacklist pcspkr\n", "blacklist usb-storage\n", &["blacklist pcspkr removed", "blacklist usb-storage added"]),
    ("/etc/modprobe.d/x.conf", Kind::Config, MODPROBE, "power_save=1", "power_save=0", &["options snd-hda-intel: power_save=0 added, power_save=1 removed"]),
    ("/etc/docker/daemon.json", Kind::Json, DAEMON_JSON, "\"max-file\": 3", "\"max-file\": 5", &["log-opts.max-file: 3 -> 5"]),
    ("/etc/docker/daemon.json", Kind::Json, DAEMON_JSON, "\"fd://\"", "\"tcp://0.0.0.0:2375\"", &["hosts: tcp://0.0.0.0:2375 added, fd:// removed"]),
    ("/etc/docker/daemon.json", Kind::Json, DAEMON_JSON, "https://m.example", "http://m.example", &["mirrors[].url: https://m.example -> http://m.example"]),
    ("/etc/docker/daemon.json", Kind::Json, DAEMON_JSON, "\n}", "\n", &["not valid any more", "1 line removed: \"}\""]),
    ("/etc/gitlab-runner/config.toml", Kind::Toml, TOML, "debian:12", "evil:latest", &["runners[].docker.image: debian:12 -> evil:latest"]),
    ("/etc/gitlab-runner/config.toml", Kind::Toml, TOML, "hunter2hunter2", "hunter3hunter3", &["runners[].token: changed (values not shown)"]),
    ("/etc/gitlab-runner/config.toml", Kind::Toml, TOML, "# the runner's", "# the runners'", &[ONLY_COMMENTS]),
    ("/etc/netplan/01.yaml", Kind::Yaml, YAML, "dhcp4: true", "dhcp4: false", &["network.ethernets.eth0.dhcp4: true -> false"]),
    ("/etc/netplan/01.yaml", Kind::Yaml, YAML, "- 10.0.0.3/24", "- 10.0.0.9/24", &["network.ethernets.eth0.addresses: 10.0.0.3/24 -> 10.0.0.9/24"]),
    ("/etc/netplan/01.yaml", Kind::Yaml, YAML, "shell: /bin/bash", "shell: /bin/false", &["users.shell: /bin/bash -> /bin/false"]),
    ("/etc/netplan/01.yaml", Kind::Yaml, YAML, "World", "Moon", &["motd: Hello World -> Hello Moon"]),
    ("/etc/adduser.conf", Kind::Config, CONF, "/bin/bash", "/bin/zsh", &["DSHELL: /bin/bash -> /bin/zsh"]),
    ("/opt/app/settings", Kind::Text, CONF, "hunter2", "hunter3", &["DB_PASSWORD: changed (values not shown)"]),
    ("/etc/hostname", Kind::Config, "debian\n", "debian", "trixie", &["line \"debian\" -> \"trixie\""]),
    ("/usr/local/bin/x", Kind::Script, "#!/bin/sh\n# c\nset -e\necho 1\n", "#!/bin/sh", "#!/bin/bash", &["line \"#!/bin/sh\" -> \"#!/bin/bash\""]),
    ("/usr/local/bin/x", Kind::Script, "#!/bin/sh\nmysql -phunter2\n", "hunter2", "hunter3", &["1 line changed (not shown)"]),
    ("/etc/redis/redis.conf", Kind::Config, "bind 127.0.0.1\nrequirepass hunter2\n", "requirepass hunter2", "requirepass hunter3", &["1 line changed (not shown)"]),
    ("/etc/redis/redis.conf", Kind::Config, "bind 127.0.0.1\nport 1\n", "bind 127.0.0.1", "bind 0.0.0.0", &["line \"bind 127.0.0.1\" -> \"bind 0.0.0.0\""]),
    ("/home/a/README", Kind::Text, "# Title\ntext\n", "# Title", "# Name", &["line \"# Title\" -> \"# Name\""]),
    ("/home/a/notes", Kind::Text, "one\ntwo\nthree\n", "two\nthree\n", "three\ntwo\n", &["lines moved"]),
    ("/etc/localtime", Kind::Symlink, "/usr/share/zoneinfo/UTC", "UTC", "Europe/Berlin", &["target /usr/share/zoneinfo/UTC -> /usr/share/zoneinfo/Europe/Berlin"]),
    ("/proc/sys/net/ipv4/ip_forward", Kind::Sysctl, "0\n", "0", "1", &["net.ipv4.ip_forward: 0 -> 1"]),
    ("/proc/modules", Kind::ModuleList, "loop 40960 - Live\nfuse 176128 loop, Live\n", "fuse", "evil 16384 - Live (OE)\nfuse", &["kernel module evil loaded (taint (OE))"]),
    ("/proc/modules", Kind::ModuleList, "loop 40960 - Live\nfuse 176128 loop, Live\n", "fuse 176128 loop, Live\n", "", &["kernel module fuse unloaded"]),
    ("/proc/mounts", Kind::MountTable, "proc /proc proc rw,nosuid 0 0\n/dev/sda1 / ext4 rw 0 0\n", "/dev/sda1", "tmpfs /mnt/a\\040b tmpfs rw 0 0\n/dev/sda1", &["tmpfs on /mnt/a b mounted (type tmpfs, options rw)"]),
    ("/proc/mounts", Kind::MountTable, "proc /proc proc rw,nosuid 0 0\n/dev/sda1 / ext4 rw 0 0\n", "ext4 rw", "ext4 ro", &["/dev/sda1 on /: options ro added, rw removed"]),
    ("/proc/net/tcp", Kind::SocketTable, "local remote state uid inode\n0100007F:1F90 00000000:0000 0A 1000 12345\n", "0100007F", "00000000:0050 00000000:0000 0A 0 7\n0200007F:1F90 0300007F:0016 01 0 8\n0100007F", &["listening on 0.0.0.0:80/tcp appeared (uid 0)"]),
    ("/proc/net/tcp6", Kind::SocketTable, "local remote state uid inode\n00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 0 1\n", "00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 0 1\n", "", &["listening on [::]:22/tcp gone (uid 0)"]),
    ("/proc/net/udp", Kind::SocketTable, "local remote state uid inode\n", "inode\n", "inode\n00000000:0045 00000000:0000 07 0 7\n00000000:C350 00000000:0000 07 0 8\n", &["listening on 0.0.0.0:69/udp appeared (uid 0)"]),
    ("/proc/net/tcp", Kind::SocketTable, "local remote state uid inode\n0100007F:1F90 0200007F:0016 01 0 1\n", "0200007F", "0300007F", &[]),
    ("/proc/net/unix", Kind::SocketTable, "Num RefCount Protocol Flags Type St Inode Path\n00000000 00010000 0001 01 99 /run/x\n", "00000000 ", "00000000 00010000 0001 01 7 /run/new\n00000000 ", &["listening on /run/new appeared"]),
    ("/proc/net/route", Kind::ProcProjection, "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n", "Mask\n", "Mask\neth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\n", &["default route added (through eth0, gateway 10.0.0.1)"]),
    ("/proc/12/status", Kind::ProcProjection, "Name:\tx\nUid:\t1000\t1000\t1000\t1000\n", "1000\t1000\t1000\t1000", "0\t0\t0\t0", &["Uid: 1000 1000 1000 1000 -> 0 0 0 0"]),
    ("/proc/12/cmdline", Kind::ProcProjection, "app\0--serve\0", "--serve", "--stop", &["command line: app --serve -> app --stop"]),
];

#[test]
fn edits_of_an_administrator() {
    assert!(EDITS.len() >= 60);
    let mut wrong = Vec::new();
    for (path, kind, text, from, to, want) in EDITS {
        assert!(text.contains(from), "{path}: {from}");
        let after = text.replacen(from, to, 1);
        let have = of(*kind, Path::new(path), text.as_bytes(), after.as_bytes());
        if have != *want {
            wrong.push(format!("{path}: {from:?} -> {to:?}\n   have {have:#?}\n   want {want:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn many_changes_are_counted() {
    let text = |value: u32| (0..50).map(|n| format!("key{n} = {value}\n")).collect::<Vec<_>>().concat();
    let lines = of(Kind::Config, Path::new("/etc/x.conf"), text(1).as_bytes(), text(2).as_bytes());
    assert_eq!(lines.len(), LINES_MAX);
    assert_eq!((lines[0].as_str(), lines[7].as_str()), ("key0: 1 -> 2", "and 43 more"));
}

#[test]
fn what_is_no_text_or_too_much_of_it_is_not_compared() {
    let path = Path::new("/etc/x.conf");
    assert!(of(Kind::Config, path, b"a = 1\n", b"a = \0\x01\x02\n").is_empty());
    assert!(of(Kind::Config, path, b"a = 1\n", &vec![b'a'; TEXT_BYTES_MAX + 1]).is_empty());
    let hostile = of(
        Kind::Config,
        path,
        b"a = 1\n",
        format!("a = \u{1b}[2J\u{202e}x\n#{}\n", "-".repeat(200)).as_bytes(),
    );
    assert_eq!(hostile, ["a: 1 -> [2Jx"]);
}

/// Texts made to take the square of their length.
#[test]
fn hostile_texts_take_linear_time() {
    let deep_json = format!("{}{}", "{\"a\":".repeat(120), "1".to_owned() + &"}".repeat(120));
    let wide_json = format!("{{\"{}\":[{}{{}}]}}", "k".repeat(30_000), "{\"a\":1},".repeat(4000));
    let dashes = "- ".repeat(32_000);
    let deep_yaml = (0..350).map(|n| format!("{}a:\n", " ".repeat(n))).collect::<Vec<_>>().concat();
    let same = "x = 1\n".repeat(10_000);
    let words = format!("AllowUsers {}", "u ".repeat(32_000));
    let commas = format!("/dev/x /y ext4 {} 0 0", "a,".repeat(32_000));
    let backslashes = "a = b\\\n".repeat(9000);
    let spaces = " ".repeat(65_000);
    let paths = [
        "/etc/ssh/sshd_config",
        "/etc/sudoers",
        "/etc/pam.d/x",
        "/etc/fstab",
        "/etc/hosts",
        "/etc/crontab",
        "/etc/x.json",
        "/etc/x.toml",
        "/etc/x.yaml",
        "/etc/x.service",
        "/etc/x.conf",
        "/etc/apt/sources.list",
        "/etc/apt/sources.list.d/x.sources",
        "/etc/default/x",
        "/etc/x",
    ];
    let texts = [&deep_json, &wide_json, &dashes, &deep_yaml, &same, &words, &commas, &backslashes, &spaces];
    let started = std::time::Instant::now();
    for path in paths {
        for text in texts {
            let bytes = text.as_bytes();
            assert!(bytes.len() <= TEXT_BYTES_MAX, "{}", bytes.len());
            let mut other = bytes.to_vec();
            other.truncate(bytes.len() / 2);
            other.push(b'!');
            of(Kind::Config, Path::new(path), bytes, &other);
        }
    }
    // A square of 64 KiB would take many seconds each; this is for a busy machine.
    let each = started.elapsed() / (paths.len() * texts.len()) as u32;
    println!("{each:?} each");
    assert!(each < std::time::Duration::from_millis(200), "{each:?} each");
}

const PATHS: [&str; 20] = [
    "/etc/ssh/sshd_config",
    "/etc/sudoers",
    "/etc/pam.d/login",
    "/etc/passwd",
    "/etc/group",
    "/etc/fstab",
    "/etc/hosts",
    "/etc/resolv.conf",
    "/etc/nsswitch.conf",
    "/etc/sysctl.conf",
    "/etc/crontab",
    "/etc/x.service",
    "/etc/apt/sources.list",
    "/etc/apt/sources.list.d/x.sources",
    "/etc/environment",
    "/etc/login.defs",
    "/etc/x.json",
    "/etc/x.toml",
    "/etc/x.yaml",
    "/proc/net/tcp",
];

fn kind_of(path: &str) -> Kind {
    if path.starts_with("/proc") { Kind::SocketTable } else { Kind::Config }
}

proptest! {
    #[test]
    fn any_two_texts(path in 0..PATHS.len(), before in "(?s)[ -~\n\t]{0,300}|.{0,100}", after in "(?s)[ -~\n\t]{0,300}|.{0,100}") {
        let path = PATHS[path];
        let lines = of(kind_of(path), Path::new(path), before.as_bytes(), after.as_bytes());
        prop_assert!(lines.len() <= LINES_MAX);
        for line in &lines {
            prop_assert!(!line.is_empty() && line.chars().count() <= LINE_CHARS_MAX, "{line:?}");
            prop_assert!(!line.chars().any(|c| c.is_control() || crate::artifact::kinds::invisible(c)), "{line:?}");
        }
        prop_assert!(of(kind_of(path), Path::new(path), before.as_bytes(), before.as_bytes()).is_empty());
    }

    #[test]
    fn any_edit_of_a_real_file(which in 0..EDITS.len(), at in 0_usize..1000, len in 0_usize..40, put in "[ -~\n]{0,20}") {
        let (path, kind, text, ..) = EDITS[which];
        let start = text.floor_char_boundary(at % (text.len() + 1));
        let end = text.floor_char_boundary((start + len).min(text.len()));
        let after = format!("{}{put}{}", &text[..start], &text[end..]);
        let lines = of(kind, Path::new(path), text.as_bytes(), after.as_bytes());
        prop_assert!(lines.len() <= LINES_MAX);
        if !path.starts_with("/proc/") && after != *text {
            prop_assert!(!lines.is_empty(), "{after:?}");
        }
    }

    #[test]
    fn the_other_way_round_the_arrow_turns(a in "[a-z0-9/]{1,20}", b in "[a-z0-9/]{1,20}") {
        prop_assume!(a != b);
        let text = |value: &str| format!("# comment\nlevel = {value}\nother = 1\n");
        let of = |a: &str, b: &str| of(Kind::Config, Path::new("/etc/x.conf"), text(a).as_bytes(), text(b).as_bytes());
        prop_assert_eq!(of(&a, &b), [format!("level: {a} -> {b}")]);
        prop_assert_eq!(of(&b, &a), [format!("level: {b} -> {a}")]);
    }

    #[test]
    fn a_secret_is_never_told(secret in "[A-Z][a-z0-9]{9,20}", name in "(db_|app\\.|X-)?(password|passwd|secret|api_token|clientSecret|psk|auth_key)") {
        for (path, text) in [
            ("/srv/x.conf", format!("a = 1\n{name} = {secret}\n")),
            ("/srv/x.ini", format!("[s]\n{name}={secret}\n")),
            ("/srv/x.json", format!("{{\"a\": {{\"{name}\": \"{secret}\"}}}}")),
            ("/srv/x.yaml", format!("a:\n  {name}: {secret}\n")),
            ("/srv/default/x", format!("export {}={secret}\n", name.replace(['.', '-'], "_"))),
            ("/srv/text", format!("{name} {secret}\n")),
            ("/srv/text", format!("{name}: {secret}\n")),
        ] {
            for (before, after) in [("", text.as_str()), (text.as_str(), "a = 2\n"), (text.as_str(), &text.replace(&secret, "Other123456789"))] {
                let lines = of(Kind::Config, Path::new(path), before.as_bytes(), after.as_bytes());
                prop_assert!(!lines.iter().any(|line| line.contains(&secret)), "{path} {lines:?}");
            }
        }
    }
}

#include "offline/doctor_rules.h"

#define E DOCTOR_ERROR
#define W DOCTOR_WARNING
#define N DOCTOR_NOTE

/* An id is a heading of docs/runbook.md and never changes its meaning. */
const struct doctor_rule_row doctor_rules[RULES] = {
    [RULE_DAEMON_DEAD] =
        {"daemon-dead", E,
         "nothing of this node is served; zones go on where a majority of their other "
         "members is",
         "start it (systemctl start grapevined); if it ends again, its last line says "
         "why"},
    [RULE_DAEMON_SILENT] =
        {"daemon-silent", E,
         "a process holds the state folder and does not answer: it starts, hangs on a "
         "disk, "
         "or its control socket is another one",
         "give --socket if it has another one, run this as root or the daemon's user; if "
         "it "
         "hangs, look at the disks in the kernel's log before you kill it"},
    [RULE_NOT_ALLOWED] =
        {"not-allowed", E,
         "whoever runs this may not ask the daemon, nor read its folders: it may be well",
         "run this as root (sudo gvraft doctor) or as the daemon's user"},
    [RULE_START_REFUSED] = {"start-refused", E,
                            "the daemon was started and refused to go on like this",
                            "do what the words say, then start it"},
    [RULE_CONFIG_INVALID] =
        {"config-invalid", E,
         "a daemon that runs goes on with what it read at its start; none starts with "
         "this",
         "correct the line, or write the file: see grapevine.conf(5); grapevined --check "
         "says what is wrong with it"},
    [RULE_STATE_FOLDER] =
        {"state-folder", E,
         "the node's key, its place in the grapevine and the directory are there",
         "mount it, or give it to the daemon's user; if it is lost, the node has to be "
         "removed and to join anew under another name"},
    [RULE_PORT_TAKEN] = {"port-taken", E,
                         "another program listens there, so the daemon cannot start",
                         "stop that program (ss -ltnp shows it; often the kernel's "
                         "nfsd), or change [listen]"},
    [RULE_ADDRESS_MISSING] =
        {"address-missing", E,
         "this machine does not have the address that [listen] names",
         "bring the interface up before the daemon starts, or change [listen]"},
    [RULE_NOT_IN_GRAPEVINE] = {"not-in-grapevine", N,
                               "the node belongs to no grapevine and serves nothing yet",
                               "gvraft init starts one, gvraft join TOKEN joins one"},
    [RULE_DIRECTORY_UNREAD] =
        {"directory-unread", W,
         "the node has not read which nodes and zones there are: until then it serves no "
         "client",
         "if it stays so, a majority of the first five nodes must be reached: see "
         "peer-down"},
    [RULE_POOL_MISSING] =
        {"pool-missing", E,
         "the zones of that pool have no data here; others of their members go on",
         "mount it, or make the folder if it is a new pool"},
    [RULE_POOL_HANGS] =
        {"pool-hangs", E,
         "the disk or the server under it does not answer; the daemon waits for it, too",
         "look at the kernel's log; if it does not come back, restart the machine "
         "without it"},
    [RULE_POOL_READ_ONLY] =
        {"pool-read-only", E,
         "the file system was mounted or turned read-only; most turn so after errors of "
         "their disk",
         "look at the kernel's log first; then repair (fsck) and mount it again"},
    [RULE_POOL_BROKEN] = {"pool-broken", E,
                          "what lies there could not be read, or a file of 4 KiB written "
                          "and synced",
                          "rights of the daemon's user if it says so; else the disk: "
                          "look at the kernel's log"},
    [RULE_POOL_FULL] =
        {"pool-full", E,
         "members on this pool take nothing new; their zones go on if a majority of the "
         "others has room",
         "make room or make the pool larger; it goes on by itself"},
    [RULE_POOL_LOW] =
        {"pool-low", W, "when it is full, members on this pool take nothing new",
         "make room, make the pool larger, or move a zone away: add another member, then "
         "remove this one"},
    [RULE_POOL_SLOW] =
        {"pool-slow", W,
         "a small sync took very long just now: every write of a zone with its journal "
         "here "
         "waits for such syncs",
         "see what else writes there (iostat -x 1), or put journals on a faster device: "
         "journal in [pool]"},
    [RULE_JOURNAL_ON_HDD] =
        {"journal-on-hdd", N, "each batch of writes waits for a disk that turns",
         "a journal folder on an SSD (journal in [pool]) is the largest single gain"},
    [RULE_DATASET_MISSING] = {"dataset-missing", E,
                              "this node had data of the zone there and it is gone: the "
                              "member stops rather than "
                              "to begin with nothing",
                              "mount it; if it is lost for good: gvraft zone rebuild: it "
                              "gets a new copy from the others"},
    [RULE_DATASET_DAMAGED] =
        {"dataset-damaged", E,
         "the marker is not what was written: the disk or somebody changed it",
         "do not write one by hand: the member is made anew by itself where the zone has "
         "others, and keeps this one as ZONE.quarantine-TIME; look at the disk"},
    [RULE_DATASET_ROTTEN] =
        {"dataset-rotten", W,
         "a bit or two of the marker changed on the disk, or its first line; its "
         "checksum "
         "tells what it was",
         "nothing: the next start of the zone writes it anew; look at the disk (smartctl "
         "-a), for it changes what lies on it"},
    [RULE_STATE_FULL] =
        {"state-full", E,
         "the node's copy of the directory and what it remembers of its zones are there: "
         "zones and members that it should take in wait, and events are not kept",
         "make room on the file system of the state folder; it goes on by itself"},
    [RULE_STATE_ROTTEN] =
        {"state-rotten", W,
         "a small file of this node's was not what was written, and was made good from "
         "what "
         "else says it: no harm came of it",
         "look at the disk of the state folder or pool that is named (smartctl -a): it "
         "changes what lies on it"},
    [RULE_DATASET_VERSION] =
        {"dataset-version", E,
         "it was made by another version of grapevined, which this one leaves alone",
         "run the version that made it, or remove the member and add it anew"},
    [RULE_DATASET_FOREIGN] = {"dataset-foreign", E,
                              "in the zone's folder lies another zone's data, as after a "
                              "wrong mount or restore",
                              "mount what belongs there"},
    [RULE_JOURNAL_MISSING] =
        {"journal-missing", E,
         "the journal is part of the data: without it the member cannot start",
         "mount the journal's device: it goes on by itself; if it is lost: gvraft zone "
         "rebuild, where the zone has others; gvraft export --offline has what had "
         "settled"},
    [RULE_BALLAST_MISSING] = {"ballast-missing", N,
                              "the file that is given up on a full disk is gone, as on "
                              "one that was nearly full",
                              "nothing: it is made again when there is room"},
    [RULE_ZONE_FAILED] =
        {"zone-failed", E,
         "the member stopped on this node to do no harm; the zone goes on if a majority "
         "of "
         "the others is there",
         "cure what the reason names; it is then tried again by itself, if the reason "
         "says so, or with gvraft zone retry; a member whose data is damaged or old is "
         "made anew by itself"},
    [RULE_ZONE_NO_DATA] = {"zone-no-data", E,
                           "the dataset that was here is not: not mounted, or lost",
                           "mount it: it goes on by itself; if it is lost for good: "
                           "gvraft zone rebuild"},
    [RULE_ZONE_FULL] =
        {"zone-full", E,
         "the member has no room on its disk and takes nothing new; if all have none, "
         "clients wait",
         "make room on the pool; it goes on by itself"},
    [RULE_ZONE_OFFLINE] =
        {"zone-offline", E,
         "no majority of the members talk to each other, or not with this one: reads and "
         "writes through this node wait, and clients are told to try again; nothing is "
         "lost",
         "bring members back (see member-missing and peer-down for which and why)"},
    [RULE_ZONE_NO_LEADER] =
        {"zone-no-leader", E,
         "nobody says that it leads the zone: this node cannot serve it",
         "see that a majority of its members runs and is reached from here"},
    [RULE_ZONE_CATCHING_UP] =
        {"zone-catching-up", W,
         "the member reads its dataset, replays its log or pulls from another one; it "
         "votes, but another failure may have to wait for it",
         "wait; gvraft events --follow shows the pull's end"},
    [RULE_ZONE_LAG] =
        {"zone-lag", W, "that member shows files as they were that many changes ago",
         "if it does not fall: its disk is slow or its network is; see disk-slow there"},
    [RULE_ZONE_NO_SPARE] =
        {"zone-no-spare", W,
         "exactly a majority of the voters is there: when one more goes, the zone stops",
         "bring the missing members back, or add another member"},
    [RULE_ZONE_ONE_MEMBER] =
        {"zone-one-member", N,
         "there is one copy of the data: when its disk dies, it is gone",
         "right for caches; else gvraft zone add-member"},
    [RULE_ZONE_TWO_MEMBERS] =
        {"zone-two-members", N,
         "no data is lost when one dies, but then the other one alone is no majority: "
         "the "
         "zone stops until it is back",
         "a third member keeps the zone going: gvraft zone add-member"},
    [RULE_ZONE_EVEN] =
        {"zone-even", N,
         "an even number of members survives no more failures than one member fewer",
         "add one, or be content"},
    [RULE_ZONE_ONE_MACHINE] =
        {"zone-one-machine", N,
         "all members are on addresses of one machine: one power supply is all of them",
         "right for trying it out only"},
    [RULE_ZONE_QUOTA] =
        {"zone-quota", W,
         "at its quota, programs get EDQUOT (NFS3ERR_DQUOT) for what makes the zone grow",
         "remove files, or gvraft zone set-quota"},
    [RULE_MEMBER_MISSING] =
        {"member-missing", W,
         "the zone has a copy fewer than was meant, and its votes are one fewer",
         "bring the node back; if it is gone for good: gvraft zone remove-member, and "
         "add "
         "another one"},
    [RULE_DISK_SLOW] =
        {"disk-slow", W,
         "batches of the journal take very long: each write of the zone waits for a "
         "majority's journals",
         "see what else writes there; look for errors in the kernel's log: dying disks "
         "get "
         "slow first"},
    [RULE_DISK_WAITS] = {"disk-waits", E,
                         "the journal's disk has not answered for seconds",
                         "look at the kernel's log; transfer the leadership away: gvraft "
                         "transfer-leader"},
    [RULE_PEER_DOWN] =
        {"peer-down", W,
         "this node cannot talk to that one: members there do not count from here",
         "is it up? does a firewall let its peer port (2646/tcp) through in both "
         "directions?"},
    [RULE_ALONE] =
        {"alone", E,
         "what this node says of zones and members is what it sees from where it is: the "
         "others may be well",
         "peer-down has the reason for each: is this machine's network up, are the "
         "others? "
         "if they are well without it, was it removed (gvraft node list there), or "
         "copied?"},
    [RULE_CLOCK_OFF] =
        {"clock-off", W,
         "times of files jump when the leader changes; beyond a minute it gets worse",
         "run a time service (chrony, systemd-timesyncd) on every node"},
    [RULE_CLOCK_FAR_OFF] =
        {"clock-far-off", E,
         "invitations expire at the wrong time; zones go by the median of their members' "
         "clocks, and with two or fewer files get times that are wrong for good",
         "set the clock that is wrong, and run a time service on every node"},
    [RULE_VERSION_DIFFERS] =
        {"version-differs", W,
         "nodes run different versions: meant for the time of an upgrade only",
         "upgrade the others, one node at a time"},
    [RULE_NO_FLUSHER] = {"no-flusher", N,
                         "the daemon could not get PR_SET_IO_FLUSHER: much writing "
                         "through a mount of this "
                         "node's own zones on this machine would be very slow",
                         "nothing, unless you mount them here: then start it with "
                         "CAP_SYS_RESOURCE, as the "
                         "packaged service does"},
    [RULE_NO_FLUSHER_MOUNTED] =
        {"no-flusher-mounted", W,
         "this machine mounts its own node's zones, and the daemon could not get "
         "PR_SET_IO_FLUSHER: much writing there makes both wait for each other",
         "start the daemon with CAP_SYS_RESOURCE, as the packaged service does"},
    [RULE_MEMORY_NOT_LOCKED] =
        {"memory-not-locked", N,
         "under memory pressure parts of the daemon may be swapped out",
         "LimitMEMLOCK=infinity or CAP_SYS_RESOURCE for the service, or lock_memory = "
         "no"},
    [RULE_SLEEP_BEGINS] =
        {"sleep-begins", N,
         "this machine is about to sleep or shut down: until it is awake its node leads "
         "no zone and holds no read lease",
         "nothing"},
    [RULE_SLEEP_UNTOLD] =
        {"sleep-untold", N,
         "if this machine sleeps, zones that its node leads are without a leader for a "
         "moment, and writers wait for its read leases",
         "nothing, if it never sleeps: then sleep = ignore in [node] says so"},
    [RULE_FEW_FILES] = {"few-files", W,
                        "the daemon may open few files, so it takes few clients",
                        "LimitNOFILE= of the service"},
    [RULE_FILE_SIZE_LIMIT] =
        {"file-size-limit", E,
         "a dataset needs files of 8 TiB (sparse): zones will not open",
         "remove LimitFSIZE= of the service or ulimit -f"},
    [RULE_RPCBIND_REFUSED] =
        {"rpcbind-refused", W,
         "another NFS server is registered with rpcbind: clients without port= find that "
         "one, and showmount asks it",
         "stop the kernel's nfsd, or mount with port= and mountport=, or rpcbind = no"},
    [RULE_RPCBIND_ABSENT] =
        {"rpcbind-absent", N,
         "no rpcbind answers here: clients must name port= and mountport=",
         "nothing, or install rpcbind"},
    [RULE_EXPORT_OPEN_ROOT] =
        {"export-open-root", W, "everybody who reaches the NFS port may write as root",
         "name the clients, or squash = root: see [export] in grapevine.conf(5)"},
    [RULE_ENTRY_UNREADABLE] =
        {"entry-unreadable", E,
         "the member cannot go on from its own journal: it takes the state from another "
         "member that has applied the entry, and until then serves nothing newer",
         "bring the zone's other members up; look at the kernel's log and the disk's own "
         "(smartctl -a)"},
    [RULE_BLOCKS_BAD] =
        {"blocks-bad", W,
         "data on this node's disk was not what was written: the disk changes bits or "
         "loses sectors; other members have it as it was",
         "look at the kernel's log and the disk's own (smartctl -a), and replace it "
         "before "
         "the second copy goes"},
    [RULE_QUARANTINED] =
        {"quarantined", E,
         "its data is older than what it acknowledged, damaged, or was given up: it "
         "never "
         "votes with it again, and gets a new copy as soon as a majority of the others "
         "is "
         "there",
         "see that the zone's other members are up; with none, see the runbook before "
         "anything is removed"},
    [RULE_WAS_QUARANTINED] =
        {"was-quarantined", N,
         "data of this node was older than what it had acknowledged, damaged, or given "
         "up; "
         "where that is over it has a new copy",
         "gvraft events shows why: if it was damage, look at the disk (smartctl -a)"},
    [RULE_CRASHED] =
        {"crashed", N,
         "the daemon was killed, crashed or lost power in the last week; nothing that "
         "was "
         "acknowledged is lost by that",
         "if nobody did it, look at its log and the kernel's (out of memory?)"},
    [RULE_CRASHES] =
        {"crashes", W, "the daemon ended without a stop several times in the last week",
         "look at its log and the kernel's (out of memory? power?) around the events "
         "recovery"},
    [RULE_WAS_SLOW] =
        {"was-slow", W,
         "a journal's disk took more than a second for a batch in the last week",
         "gvraft events shows when: a backup at that time, or a disk that is dying"},
};

/*
 * nfs3_proto: numbers of NFS version 3 and MOUNT version 3 (RFC 1813).
 */
#ifndef NFS_NFS3_PROTO_H
#define NFS_NFS3_PROTO_H

#define NFS3_PROGRAM 100003u
#define NFS3_VERSION 3u
#define NFS3_FHSIZE 64u
#define NFS3_COOKIEVERFSIZE 8u
#define NFS3_CREATEVERFSIZE 8u
#define NFS3_WRITEVERFSIZE 8u

enum nfs3_procnum {
    NFSPROC3_NULL = 0,
    NFSPROC3_GETATTR = 1,
    NFSPROC3_SETATTR = 2,
    NFSPROC3_LOOKUP = 3,
    NFSPROC3_ACCESS = 4,
    NFSPROC3_READLINK = 5,
    NFSPROC3_READ = 6,
    NFSPROC3_WRITE = 7,
    NFSPROC3_CREATE = 8,
    NFSPROC3_MKDIR = 9,
    NFSPROC3_SYMLINK = 10,
    NFSPROC3_MKNOD = 11,
    NFSPROC3_REMOVE = 12,
    NFSPROC3_RMDIR = 13,
    NFSPROC3_RENAME = 14,
    NFSPROC3_LINK = 15,
    NFSPROC3_READDIR = 16,
    NFSPROC3_READDIRPLUS = 17,
    NFSPROC3_FSSTAT = 18,
    NFSPROC3_FSINFO = 19,
    NFSPROC3_PATHCONF = 20,
    NFSPROC3_COMMIT = 21,
    NFSPROC3_COUNT = 22
};

enum nfsstat3 { /* RFC 1813 2.6 */
                NFS3_OK = 0,
                NFS3ERR_PERM = 1,
                NFS3ERR_NOENT = 2,
                NFS3ERR_IO = 5,
                NFS3ERR_NXIO = 6,
                NFS3ERR_ACCES = 13,
                NFS3ERR_EXIST = 17,
                NFS3ERR_XDEV = 18,
                NFS3ERR_NODEV = 19,
                NFS3ERR_NOTDIR = 20,
                NFS3ERR_ISDIR = 21,
                NFS3ERR_INVAL = 22,
                NFS3ERR_FBIG = 27,
                NFS3ERR_NOSPC = 28,
                NFS3ERR_ROFS = 30,
                NFS3ERR_MLINK = 31,
                NFS3ERR_NAMETOOLONG = 63,
                NFS3ERR_NOTEMPTY = 66,
                NFS3ERR_DQUOT = 69,
                NFS3ERR_STALE = 70,
                NFS3ERR_REMOTE = 71,
                NFS3ERR_BADHANDLE = 10001,
                NFS3ERR_NOT_SYNC = 10002,
                NFS3ERR_BAD_COOKIE = 10003,
                NFS3ERR_NOTSUPP = 10004,
                NFS3ERR_TOOSMALL = 10005,
                NFS3ERR_SERVERFAULT = 10006,
                NFS3ERR_BADTYPE = 10007,
                NFS3ERR_JUKEBOX = 10008
};

enum nfs3_stable { NFS3_UNSTABLE = 0, NFS3_DATA_SYNC = 1, NFS3_FILE_SYNC = 2 };

enum nfs3_access { /* RFC 1813 3.3.4 */
                   NFS3_ACCESS_READ = 0x01,
                   NFS3_ACCESS_LOOKUP = 0x02,
                   NFS3_ACCESS_MODIFY = 0x04,
                   NFS3_ACCESS_EXTEND = 0x08,
                   NFS3_ACCESS_DELETE = 0x10,
                   NFS3_ACCESS_EXECUTE = 0x20,
                   NFS3_ACCESS_ALL = 0x3f
};

enum nfs3_properties { /* RFC 1813 3.3.19 */
                       NFS3_FSF_LINK = 0x01,
                       NFS3_FSF_SYMLINK = 0x02,
                       NFS3_FSF_HOMOGENEOUS = 0x08,
                       NFS3_FSF_CANSETTIME = 0x10
};

#define MNT3_PROGRAM 100005u
#define MNT3_VERSION 3u
#define MNT3_PATH_MAX 1024u
#define MNT3_NAME_MAX 255u

enum mnt3_procnum { /* RFC 1813 5.2 */
                    MOUNTPROC3_NULL = 0,
                    MOUNTPROC3_MNT = 1,
                    MOUNTPROC3_DUMP = 2,
                    MOUNTPROC3_UMNT = 3,
                    MOUNTPROC3_UMNTALL = 4,
                    MOUNTPROC3_EXPORT = 5,
                    MOUNTPROC3_COUNT = 6
};

enum mnt3_stat { /* RFC 1813 5.1.5 */
                 MNT3_OK = 0,
                 MNT3ERR_NOENT = 2,
                 MNT3ERR_IO = 5,
                 MNT3ERR_ACCES = 13,
                 MNT3ERR_NOTDIR = 20,
                 MNT3ERR_INVAL = 22,
                 MNT3ERR_NAMETOOLONG = 63,
                 MNT3ERR_SERVERFAULT = 10006
};

#endif

//! ftp::verb – the verbs we know: name, when it may be used, how it is written.
//!
//! One table; HELP, the parser and the gate before login read it.
//!
//! Promises: a verb is known by its whole name, in any case (RFC 959 §5.3).
//! Not here: arguments (`command`).

/// When a verb may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Before login too.
    Open,
    /// After login.
    Login,
    /// Before login too, where TLS is offered; else 502.
    Secure,
    /// Known, but not implemented: 502.
    Absent,
}

macro_rules! verbs {
    ($($verb:ident $name:literal $gate:ident $syntax:literal)*) => {
        /// A verb we know.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Verb { $(#[doc = concat!("`", $syntax, "`")] $verb),* }

        /// Every verb in the order of RFC 959, extensions after.
        pub const VERBS: &[Verb] = &[$(Verb::$verb),*];

        impl Verb {
            /// By name, in any case.
            pub fn named(name: &[u8]) -> Option<Self> {
                let mut upper = [0_u8; 4];
                let upper = upper.get_mut(..name.len())?;
                upper.copy_from_slice(name);
                upper.make_ascii_uppercase();
                // Not a search: the compiler turns this into comparisons by length and octet.
                $(if *upper == *$name { return Some(Self::$verb); })*
                None
            }

            /// Its name.
            pub const fn name(self) -> &'static [u8] {
                match self { $(Self::$verb => $name),* }
            }

            /// When it may be used.
            pub const fn gate(self) -> Gate {
                match self { $(Self::$verb => Gate::$gate),* }
            }

            /// How it is written.
            pub const fn syntax(self) -> &'static str {
                match self { $(Self::$verb => $syntax),* }
            }
        }
    };
}

verbs! {
    User b"USER" Open "USER <SP> name"
    Pass b"PASS" Open "PASS <SP> password"
    Acct b"ACCT" Login "ACCT <SP> account"
    Cwd b"CWD" Login "CWD <SP> directory"
    Cdup b"CDUP" Login "CDUP"
    Smnt b"SMNT" Absent "SMNT <SP> pathname"
    Rein b"REIN" Open "REIN"
    Quit b"QUIT" Open "QUIT"
    Port b"PORT" Login "PORT <SP> h1,h2,h3,h4,p1,p2"
    Pasv b"PASV" Login "PASV"
    Type b"TYPE" Login "TYPE <SP> A [N|T] | E [N|T] | I | L 8"
    Stru b"STRU" Login "STRU <SP> F | R"
    Mode b"MODE" Login "MODE <SP> S"
    Retr b"RETR" Login "RETR <SP> file"
    Stor b"STOR" Login "STOR <SP> file"
    Stou b"STOU" Login "STOU [<SP> stem]"
    Appe b"APPE" Login "APPE <SP> file"
    Allo b"ALLO" Login "ALLO <SP> octets [<SP> R <SP> octets]"
    Rest b"REST" Login "REST <SP> offset"
    Rnfr b"RNFR" Login "RNFR <SP> pathname"
    Rnto b"RNTO" Login "RNTO <SP> pathname"
    Abor b"ABOR" Open "ABOR"
    Dele b"DELE" Login "DELE <SP> file"
    Rmd b"RMD" Login "RMD <SP> directory"
    Mkd b"MKD" Login "MKD <SP> directory"
    Pwd b"PWD" Login "PWD"
    List b"LIST" Login "LIST [<SP> -alR] [<SP> pathname]"
    Nlst b"NLST" Login "NLST [<SP> -aR] [<SP> pathname]"
    Site b"SITE" Login "SITE <SP> HELP | CHMOD | IDLE | SYMLINK | UMASK | UTIME"
    Syst b"SYST" Open "SYST"
    Stat b"STAT" Login "STAT [<SP> pathname]"
    Help b"HELP" Open "HELP [<SP> command]"
    Noop b"NOOP" Open "NOOP"
    Xcwd b"XCWD" Login "XCWD <SP> directory"
    Xcup b"XCUP" Login "XCUP"
    Xpwd b"XPWD" Login "XPWD"
    Xmkd b"XMKD" Login "XMKD <SP> directory"
    Xrmd b"XRMD" Login "XRMD <SP> directory"
    Feat b"FEAT" Open "FEAT"
    Opts b"OPTS" Open "OPTS <SP> MLST [<SP> fact;...] | UTF8 [<SP> ON]"
    Eprt b"EPRT" Login "EPRT <SP> |family|address|port|"
    Epsv b"EPSV" Login "EPSV [<SP> 1|2|ALL]"
    Mdtm b"MDTM" Login "MDTM <SP> file"
    Size b"SIZE" Login "SIZE <SP> file"
    Mlst b"MLST" Login "MLST [<SP> pathname]"
    Mlsd b"MLSD" Login "MLSD [<SP> directory]"
    Mfmt b"MFMT" Login "MFMT <SP> YYYYMMDDhhmmss <SP> file"
    Clnt b"CLNT" Open "CLNT <SP> name"
    Lang b"LANG" Absent "LANG [<SP> tag]"
    Host b"HOST" Absent "HOST <SP> name"
    Auth b"AUTH" Secure "AUTH <SP> TLS | SSL"
    Adat b"ADAT" Absent "ADAT <SP> data"
    Pbsz b"PBSZ" Secure "PBSZ <SP> octets"
    Prot b"PROT" Secure "PROT <SP> C | P"
    Ccc b"CCC" Secure "CCC"
    Mic b"MIC" Absent "MIC <SP> data"
    Conf b"CONF" Absent "CONF <SP> data"
    Enc b"ENC" Absent "ENC <SP> data"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_known_in_any_case_and_by_their_whole_name() {
        for &verb in VERBS {
            let name = verb.name();
            assert_eq!(Verb::named(name), Some(verb));
            assert_eq!(Verb::named(&name.to_ascii_lowercase()), Some(verb));
            assert!(verb.syntax().as_bytes().starts_with(name));
            assert_eq!(Verb::named(&[name, b"X"].concat()), None);
        }
        assert_eq!(Verb::named(b""), None);
    }
}

//! store::accounts – STUB until the branch with the accounts is merged.
#![allow(missing_docs)]

pub struct Accounts;
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access { None, Read, Write }
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant { pub name: String, pub root: Vec<u8>, pub access: Access }
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict { Granted(Grant), Refused }
impl Accounts {
    pub fn load(_path: &std::path::Path) -> std::io::Result<Self> { todo!() }
    pub fn verify(&self, _name: &[u8], _password: &[u8]) -> Verdict { todo!() }
}

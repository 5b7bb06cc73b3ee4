//! Who may open a flow to whom.

use std::collections::BTreeMap;

/// One side of a flow, by its place in what the gateway is configured with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ItlsParty {
    /// A device.
    Device(usize),
    /// An Internet end, which is a user.
    User(usize),
}

/// The names of devices and users. Every user may open a flow to every device that stands here; a device
/// may open one to the users that it is given.
#[derive(Clone, Debug, Default)]
pub struct ItlsPolicy {
    devices: BTreeMap<usize, Named>,
    users: BTreeMap<usize, String>,
    device_names: BTreeMap<String, usize>,
    user_names: BTreeMap<String, usize>,
}

#[derive(Clone, Debug)]
struct Named {
    name: String,
    calls: Vec<usize>,
}

impl ItlsPolicy {
    /// Knows nobody.
    pub const fn new() -> Self {
        Self {
            devices: BTreeMap::new(),
            users: BTreeMap::new(),
            device_names: BTreeMap::new(),
            user_names: BTreeMap::new(),
        }
    }

    /// Adds a device in this mode, which may open flows to the users in `calls`. A name above 63 bytes
    /// fits no OPEN and is never asked for.
    #[must_use]
    pub fn with_device(mut self, device: usize, name: &str, calls: &[usize]) -> Self {
        self.device_names.insert(name.to_owned(), device);
        let (name, calls) = (name.to_owned(), calls.to_vec());
        self.devices.insert(device, Named { name, calls });
        self
    }

    /// Adds a user.
    #[must_use]
    pub fn with_user(mut self, user: usize, name: &str) -> Self {
        self.user_names.insert(name.to_owned(), user);
        self.users.insert(user, name.to_owned());
        self
    }

    /// Returns a party's name; empty for who isn't here.
    pub fn name(&self, party: ItlsParty) -> &str {
        match party {
            ItlsParty::Device(device) => self.devices.get(&device).map(|it| it.name.as_str()),
            ItlsParty::User(user) => self.users.get(&user).map(String::as_str),
        }
        .unwrap_or_default()
    }

    /// Finds whom `from` may open a flow to by a name. Unknown and forbidden are the same.
    pub(super) fn find(&self, from: ItlsParty, name: &[u8]) -> Option<ItlsParty> {
        let name = str::from_utf8(name).ok()?;
        match from {
            ItlsParty::User(_) => {
                let device = self.device_names.get(name)?;
                Some(ItlsParty::Device(*device))
            }
            ItlsParty::Device(device) => {
                let user = self.user_names.get(name)?;
                let calls = &self.devices.get(&device)?.calls;
                calls.contains(user).then_some(ItlsParty::User(*user))
            }
        }
    }
}

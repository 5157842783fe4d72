//! `/v1/coordinate/…`: where nodes are in the network.

use serde::{Deserialize, Serialize};

use crate::coordinate::Coordinate;
use crate::name::NodeName;
use crate::text::Text;

/// The network area of all datacenters.
pub const AREA_WAN: &str = "wan";

/// The place of a node, in an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase")]
pub struct CoordinateShown {
    /// The node.
    pub node: NodeName,
    /// The network segment that it is in; empty for the only one.
    #[serde(default)]
    pub segment: Text,
    /// Its place.
    pub coord: Coordinate,
}

/// The servers of a datacenter and their places, in the answer of `GET /v1/coordinate/datacenters`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase")]
pub struct DatacenterMap {
    /// The datacenter.
    pub datacenter: Text,
    /// The network area; always [`AREA_WAN`].
    #[serde(rename = "AreaID")]
    pub area_id: Text,
    /// Its servers.
    pub coordinates: Vec<CoordinateShown>,
}

/// The body of `PUT /v1/coordinate/update`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase")]
pub struct CoordinateUpdate {
    /// The node.
    pub node: NodeName,
    /// The network segment that it is in.
    #[serde(default)]
    pub segment: Text,
    /// Its place.
    pub coord: Coordinate,
    /// The datacenter; empty for the one that is asked.
    #[serde(default)]
    pub datacenter: Text,
}

//! `/v1/coordinate/…`: where nodes are in the network.

use callboard_proto::acl::{Level, Resource};
use callboard_proto::api::coordinate::{AREA_WAN, CoordinateShown, CoordinateUpdate, DatacenterMap};
use callboard_proto::api::decode::{Unknown, from_slice};
use callboard_proto::api::query::ReadOptions;
use callboard_proto::api::valid;
use callboard_proto::filter::Filter;
use callboard_proto::text::Text;
use callboard_proto::{Index, NodeName, ServiceName};

use super::blocking::{Answer, Question, read};
use super::describe::*;
use super::reply::{self, Failure, Response, encode, json};
use super::request::{BODY_MAX, Call};
use super::routes::{Route, get, now, put};
use super::select::{filter, node_name};
use crate::acl::{Access, Denial};
use crate::identity::CONSUL_SERVICE;
use crate::registry::{Command, Place, Registry, Topic};

/// The longest name of a network segment, in bytes.
const SEGMENT_MAX: usize = 512;

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    Route {
        path: "/v1/coordinate/datacenters",
        operations: &[get("The servers of each datacenter, with their places in the network", |call| {
            now(datacenters(call))
        })
        .gives(shaped::<Vec<DatacenterMap>>())],
    },
    Route {
        path: "/v1/coordinate/nodes",
        operations: &[get("The places of all nodes whose place is known", |call| Box::pin(nodes(call)))
            .with(&[READ, FILTER, SEGMENT])
            .gives(shaped::<Vec<CoordinateShown>>())],
    },
    Route {
        path: "/v1/coordinate/node/",
        operations: &[get("The place of a node", |call| Box::pin(node(call)))
            .of("node")
            .with(&[READ, FILTER, SEGMENT])
            .gives(shaped::<Vec<CoordinateShown>>())],
    },
    Route {
        path: "/v1/coordinate/update",
        operations: &[put("Tells where a node is; one that is not known is passed over", |call| {
            Box::pin(update(call))
        })
        .takes(shaped::<CoordinateUpdate>())
        .gives(Body::Empty)],
    },
];

/// A place, as it is shown.
fn shown(place: &Place) -> CoordinateShown {
    let Place { node, segment, coordinate } = place;
    CoordinateShown { node: node.clone(), segment: segment.clone(), coord: *coordinate }
}

/// This datacenter alone is known, so its servers are. Nothing is measured between datacenters; within one it is.
fn datacenters(call: &Call<'_>) -> Result<Response, Failure> {
    let registry = call.api.cluster.registry();
    let servers = ServiceName::parse(CONSUL_SERVICE).map_err(|error| Failure::BadRequest(error.to_string()))?;
    let mut coordinates: Vec<CoordinateShown> = registry
        .service(&servers)
        .map(|(node, _)| match registry.place_of(&node.name) {
            Some(place) => shown(place),
            None => CoordinateShown { node: node.name.clone(), segment: Text::default(), coord: Default::default() },
        })
        .collect();
    coordinates.dedup_by(|one, other| one.node == other.node);
    let map = DatacenterMap { datacenter: call.api.datacenter().clone(), area_id: AREA_WAN.into(), coordinates };
    Ok(json(&[map], call.pretty()))
}

/// Places of nodes.
struct Places {
    /// One node, or all.
    node: Option<NodeName>,
    segment: Option<Text>,
    filter: Filter<CoordinateShown>,
    pretty: bool,
}

impl Places {
    fn of(call: &Call<'_>, options: &ReadOptions, node: Option<NodeName>) -> Result<Places, Failure> {
        let segment = call.params.filled("segment").map(Text::from);
        Ok(Places { node, segment, filter: filter(options)?, pretty: call.pretty() })
    }

    fn fits(&self, place: &Place) -> bool {
        self.segment.as_ref().is_none_or(|segment| place.segment == *segment)
    }
}

impl Question for Places {
    fn topics(&self) -> Vec<Topic> {
        vec![Topic::Coordinates]
    }

    fn index(&self, registry: &Registry) -> Index {
        registry.coordinates_index()
    }

    fn is_absent(&self, registry: &Registry) -> bool {
        self.node.as_ref().is_some_and(|node| registry.place_of(node).is_none_or(|place| !self.fits(place)))
    }

    fn permit(&self, access: &Access) -> Result<(), Denial> {
        match &self.node {
            Some(node) => access.permit(Resource::Node, node.as_str(), Level::Read),
            None => Ok(()),
        }
    }

    fn answer(&self, registry: &Registry, access: &Access) -> Answer {
        if self.is_absent(registry) {
            return Answer::Absent;
        }
        let one = self.node.as_ref().map(|node| registry.place_of(node));
        let all = registry.places().filter(|_| self.node.is_none());
        let shown: Vec<CoordinateShown> = one
            .flatten()
            .into_iter()
            .chain(all)
            .filter(|place| self.fits(place) && access.allows(Resource::Node, place.node.as_str(), Level::Read))
            .map(|place| shown(place))
            .filter(|shown| self.filter.matches(shown))
            .collect();
        Answer::Json(encode(&shown, self.pretty))
    }
}

async fn nodes(call: &Call<'_>) -> Result<Response, Failure> {
    let options = call.read_options()?;
    read(call, &options, &Places::of(call, &options, None)?).await
}

async fn node(call: &Call<'_>) -> Result<Response, Failure> {
    let options = call.read_options()?;
    let node = node_name(call.argument("Missing node name")?)?;
    read(call, &options, &Places::of(call, &options, Some(node))?).await
}

async fn update(call: &mut Call<'_>) -> Result<Response, Failure> {
    call.is_ours(call.params.get("dc").unwrap_or(""))?;
    let body = call.body(BODY_MAX).await?;
    let CoordinateUpdate { node, segment, coord: coordinate, datacenter } = from_slice(&body, Unknown::Ignore)?;
    call.is_ours(&datacenter)?;
    let node = node_name(node.as_str())?;
    let segment = valid::text("Segment", &segment, SEGMENT_MAX)?;
    call.permit(Resource::Node, node.as_str(), Level::Write)?;
    call.api.cluster.propose(Command::Place(vec![Place { node, segment, coordinate }])).await?;
    Ok(reply::empty())
}

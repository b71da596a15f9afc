//! Makes replies to queries.

use hickory_proto::{
    op::{Message, OpCode, ResponseCode},
    rr::{Name, RData, Record, RecordType},
};

use super::{Content, DnsRecord, DnsReply, Zone};

/// The transport of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

/// The maximum number of aliases that are followed.
const MAX_ALIASES: usize = 16;

/// Counts a query and returns the reply to it; `None` if there is none.
pub(super) fn reply(zone: &Zone, query: &[u8], transport: Transport) -> Option<Vec<u8>> {
    let query = Message::from_vec(query).ok()?;
    let reply = {
        let mut content = zone.lock();
        let name = query.queries.first()?.name().to_lowercase();
        let queries = content.queries.entry(name).or_default();
        queries.all += 1;
        queries.tcp += usize::from(transport == Transport::Tcp);
        content.reply(&query, transport)
    };
    zone.queries.send_modify(|count| *count += 1);
    reply
}

impl Content {
    fn reply(&self, query: &Message, transport: Transport) -> Option<Vec<u8>> {
        let question = query.queries.first()?;
        let mut message = Message::response(query.metadata.id, OpCode::Query);
        message.metadata.recursion_desired = query.metadata.recursion_desired;
        message.metadata.recursion_available = true;
        message.add_query(question.clone());
        let name = question.name().to_lowercase();
        let mut truncated = false;
        match self.find(&name, question.query_type()) {
            None | Some(DnsReply::NoSuchName) => message.metadata.response_code = ResponseCode::NXDomain,
            Some(DnsReply::ServerFailure) => message.metadata.response_code = ResponseCode::ServFail,
            Some(DnsReply::Silence) => return None,
            Some(DnsReply::Raw(bytes)) => {
                return Some([&query.metadata.id.to_be_bytes()[..], bytes].concat());
            }
            Some(reply @ (DnsReply::Records(_) | DnsReply::TruncatedOverUdp(_))) => {
                truncated = matches!(reply, DnsReply::TruncatedOverUdp(_));
                self.answer(&mut message, &name, question.query_type());
            }
        }
        let bytes = message.to_vec().expect("a message of a few records");
        let too_large = bytes.len() > query.max_payload().into();
        if transport == Transport::Udp && (truncated || too_large) {
            return Some(message.truncate().to_vec().expect("a message without records"));
        }
        Some(bytes)
    }

    fn find(&self, name: &Name, kind: RecordType) -> Option<&DnsReply> {
        let exact = self.replies.get(&(name.clone(), Some(kind)));
        exact.or_else(|| self.replies.get(&(name.clone(), None)))
    }

    fn records(&self, name: &Name, kind: RecordType) -> &[DnsRecord] {
        match self.find(name, kind) {
            Some(DnsReply::Records(records) | DnsReply::TruncatedOverUdp(records)) => records,
            _ => &[],
        }
    }

    fn answer(&self, message: &mut Message, name: &Name, kind: RecordType) {
        let mut name = name.clone();
        for _ in 0..MAX_ALIASES {
            let mut alias = None;
            for record in self.records(&name, kind) {
                if let RData::CNAME(target) = &record.data {
                    alias = Some(target.0.clone());
                } else if record.data.record_type() != kind {
                    continue;
                }
                message.add_answer(record.at(&name));
                if let RData::SRV(service) = &record.data
                    && self.additionals
                {
                    self.add_additionals(message, &service.target);
                }
            }
            let Some(next) = alias else { break };
            name = next;
        }
    }

    fn add_additionals(&self, message: &mut Message, target: &Name) {
        for kind in [RecordType::A, RecordType::AAAA] {
            let records =
                self.records(target, kind).iter().filter(|record| record.data.record_type() == kind);
            message.add_additionals(records.map(|record| record.at(target)));
        }
    }
}

impl DnsRecord {
    fn at(&self, name: &Name) -> Record {
        Record::from_rdata(name.clone(), self.ttl, self.data.clone())
    }
}

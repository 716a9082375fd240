-- Join or create: finds a room for one player or a party and takes or holds seats in it, or makes a room. After
-- rooms.lua.
-- KEYS  1 the slot
-- ARGV  2 {room_type, players (list: all get a seat or none does), shard_id (the one that is asking), region, seats,
--       labels (list of KEY=VALUE: wanted, or what a new room gets), new_id, new_code, chance (two of 0 to 1),
--       lease_ms, hold_ms, seat_here (when the room runs on the asking shard, the seat is taken, not held),
--       and what is wanted, if not just any open room: name, or room_id, or code, or is_private (a new one of one's
--       own), or make (a room by exactly the id new_id, made if it is not there, for these players alone);
--       may_enter: also a room that is locked or private; may_not_make: only a room that is there;
--       is_durable: a named room whose lease has ended keeps its id;
--       party, party_size: the first of a party holds seats for all of it, the others find them}
-- Result  {status = "ok", room_id, room_type, name, code, labels, shard_id, url, epoch, is_new, is_seated, until_ms}
--       until_ms: when the reservation ends, by the clock of Redis
--       or {status = "unregistered" | "full" | "locked" | "not_found" | "no_capacity" | "healing" |
--       "limited" (there is no such room, and may_not_make)},
--       or {status = "away", wait_ms}: the owner is gone, its lease not yet

local WALK_MAX = 64
local here = shard_of(asked.shard_id)
if not here then
  return answer({status = 'unregistered'})
end
local region, players = asked.region, asked.players
local party = asked.party and key('party', asked.room_type, asked.party)

-- Seats of a party that nobody has come for yet stand under names that no player can have.
local function placeholder(number)
  return '\1' .. asked.party .. '\1' .. number
end

local function of_party(id)
  if not party then
    return nil
  end
  for number = 1, asked.party_size do
    if redis.call('ZSCORE', key('seats', id), placeholder(number)) then
      return placeholder(number)
    end
  end
end

local function needed(id)
  local count = 0
  for _, player in ipairs(players) do
    local score = redis.call('ZSCORE', key('seats', id), player)
    if not score or tonumber(score) <= now then
      count = count + 1
    end
  end
  return count
end

local function hold(room, player, is_seated)
  local seats = key('seats', room.id)
  if is_seated then
    redis.call('ZADD', seats, SEATED + now, player)
  elseif tonumber(redis.call('ZSCORE', seats, player) or 0) < SEATED then
    redis.call('ZADD', seats, now + asked.hold_ms, player)
  end
end

local function give(room, is_new)
  local is_seated = asked.seat_here and room.shard == asked.shard_id
  local seats = key('seats', room.id)
  if is_new then
    local scores = {}
    for _, player in ipairs(players) do
      scores[#scores + 1] = is_seated and SEATED + now or now + asked.hold_ms
      scores[#scores + 1] = player
    end
    redis.call('DEL', seats)
    redis.call('ZADD', seats, unpack(scores))
  else
    redis.call('ZREMRANGEBYSCORE', seats, '-inf', now)
    for _, player in ipairs(players) do
      hold(room, player, is_seated)
    end
  end
  if party and redis.call('EXISTS', party) == 0 then
    for number = 2, asked.party_size do
      redis.call('ZADD', seats, now + asked.hold_ms, placeholder(number))
    end
    redis.call('SET', party, room.id, 'PX', asked.hold_ms)
  end
  redis.call('PEXPIRE', seats, math.max(asked.lease_ms, asked.hold_ms) * 2)
  if not is_new or room.access == 'open' then
    index(room)
  end
  local owner = shard_of(room.shard)
  redis.call('HINCRBY', key('shard', room.shard), 'players', #players)
  return answer({
    status = 'ok', room_id = room.id, room_type = room.type, name = room.name, code = room.code,
    labels = room.labels, shard_id = room.shard, url = owner.url, epoch = room.epoch, is_new = is_new,
    is_seated = is_seated, until_ms = now + asked.hold_ms,
  })
end

-- A room that was asked for: a seat in it, or the reason why not.
local function enter(room, may_enter)
  if not room then
    return answer({status = 'not_found'})
  end
  if not shard_of(room.shard) then
    return answer({status = 'away', wait_ms = redis.call('PTTL', key('room', room.id))})
  end
  local need = needed(room.id)
  if party and redis.call('EXISTS', party) == 0 then
    need = need + asked.party_size - 1
  end
  if need > 0 and not may_enter then
    return answer({status = 'locked'})
  end
  if need > 0 and taken(room.id) + need > room.seats then
    return answer({status = 'full'})
  end
  return give(room, false)
end

local hosts = key('hosts', region, asked.room_type)

local function can_host(id)
  local shard = id and shard_of(id)
  if id and not shard then
    redis.call('ZREM', hosts, id)
  end
  if shard and shard.is_ready and shard.rooms < shard.rooms_max and shard.load < shard.load_max then
    return shard
  end
end

-- Loads that differ by less than a twentieth are alike: then players count, then being at hand.
local function less_loaded(one, other)
  local a, b = math.floor(one.load * 20), math.floor(other.load * 20)
  if a ~= b then
    return a < b and one or other
  end
  if one.players ~= other.players then
    return one.players < other.players and one or other
  end
  return other.id == asked.shard_id and other or one
end

local function pick_host()
  local count = redis.call('ZCARD', hosts)
  if count == 0 then
    return nil
  end
  local first = math.min(math.floor(asked.chance[1] * count), count - 1)
  local second = math.min(math.floor(asked.chance[2] * (count - 1)), count - 2)
  if second >= first then
    second = second + 1
  end
  local ids = {redis.call('ZRANGE', hosts, first, first)[1], redis.call('ZRANGE', hosts, second, second)[1]}
  local one, other = can_host(ids[1]), count > 1 and can_host(ids[2])
  if one and other then
    return less_loaded(one, other)
  end
  if one or other then
    return one or other
  end
  local best
  for _, id in ipairs(redis.call('ZREVRANGE', hosts, 0, WALK_MAX - 1)) do
    local shard = can_host(id)
    best = shard and (best and less_loaded(best, shard) or shard) or best
  end
  return best
end

local function make()
  if asked.may_not_make then
    return answer({status = 'limited'})
  end
  local need = party and asked.party_size or #players
  if need > asked.seats then
    return answer({status = 'full'})
  end
  local shard = pick_host()
  if not shard then
    return answer({status = 'no_capacity'})
  end
  local room = {
    id = asked.new_id, type = asked.room_type, name = asked.name or '', shard = shard.id, epoch = next_epoch(),
    seats = asked.seats, access = (asked.is_private or asked.make) and 'private' or 'open', code = asked.new_code or '',
    labels = table.concat(asked.labels, ','), region = shard.region, build = shard.build,
  }
  lease(room, math.max(asked.lease_ms, asked.hold_ms))
  redis.call('HINCRBYFLOAT', key('shard', shard.id), 'load', shard.room_load)
  redis.call('HINCRBY', key('shard', shard.id), 'rooms', 1)
  return give(room, true)
end

local function has_labels(room)
  for _, label in ipairs(asked.labels) do
    if not string.find(',' .. room.labels .. ',', ',' .. label .. ',', 1, true) then
      return false
    end
  end
  return true
end

-- The room with the fewest free seats among those of one index that have enough.
local function fullest(source, need)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', source, need, '+inf', 'LIMIT', 0, WALK_MAX)) do
    local room = room_of(id)
    if not room then
      redis.call('ZREM', source, id)
    elseif has_labels(room) then
      local shard = shard_of(room.shard)
      if shard and shard.is_ready and room.access == 'open' and room.seats - taken(id) >= need then
        return room
      end
    end
  end
end

local function any_open()
  local need = party and asked.party_size or #players
  local room = here.is_ready and fullest(key('here', asked.shard_id, asked.room_type), need)
  if room then
    return room
  end
  local source = key('open', region, asked.room_type)
  for _, label in ipairs(asked.labels) do
    local labelled = key('with', region, asked.room_type, label)
    if redis.call('ZCARD', labelled) < redis.call('ZCARD', source) then
      source = labelled
    end
  end
  return fullest(source, need)
end

-- Rooms that were full of reservations which have ended since are open again.
local function reopen()
  local held = key('held', region, asked.room_type)
  local ended = redis.call('ZRANGEBYSCORE', held, '-inf', now, 'LIMIT', 0, WALK_MAX)
  for _, id in ipairs(ended) do
    local room = room_of(id)
    if room then
      index(room)
    else
      redis.call('ZREM', held, id)
    end
  end
  return #ended > 0
end

local waiting = party and redis.call('GET', party)
if waiting then
  local room = room_of(waiting)
  local seat = room and of_party(waiting)
  if room and (seat or needed(waiting) == 0) then
    if seat and needed(waiting) > 0 and shard_of(room.shard) then
      redis.call('ZREM', key('seats', waiting), seat)
    end
    return enter(room, true)
  end
  return answer({status = room and 'full' or 'not_found'})
end
if asked.room_id then
  local room = room_of(asked.room_id)
  return enter(room, room and (asked.may_enter or room.access == 'open'))
end
if asked.code then
  local room = room_of(redis.call('GET', key('code', asked.code)) or '')
  return enter(room, room and room.access ~= 'locked')
end
if asked.make then
  local room = room_of(asked.new_id)
  return room and enter(room, true) or make()
end
if asked.name then
  local known = redis.call('HMGET', key('name', asked.room_type, asked.name), 'id', 'epoch')
  local room = known[1] and room_of(known[1])
  if room then
    return enter(room, asked.may_enter or room.access == 'open')
  end
  -- Its shard is gone. A durable room is restored and keeps its id; any other room begins again under a new one, so
  -- that what games derive from the id, such as idempotency keys, is not repeated.
  asked.new_id = asked.is_durable and known[1] or asked.new_id
  if not known[2] and redis.call('EXISTS', prefix .. ':healing') == 1 then
    return answer({status = 'healing', wait_ms = redis.call('PTTL', prefix .. ':healing')})
  end
  return make()
end
if not asked.is_private then
  local room = any_open() or (reopen() and any_open())
  if room then
    return give(room, false)
  end
end
return make()

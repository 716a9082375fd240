// The core over connections: resume, events, commands and their rates, abandoned requests, matches.

using System;
using System.Collections.Generic;

namespace Tickwire.Tests
{
    public static class SessionCoreTests
    {
        public static IEnumerable<Test> All()
        {
            yield return new Test("session: a resume keeps the room and discards its history", Resume);
            yield return new Test("session: a new session discards the room and what was unanswered", NewSession);
            yield return new Test("session: a restored session is asked for with its numbers", Restored);
            yield return new Test("session: repeated events are ignored and missing ones are counted", Events);
            yield return new Test("session: an abandoned join leaves the room that it was given", AbandonedJoin);
            yield return new Test("session: a cancelled match is sent again until it is answered", CancelledMatch);
            yield return new Test("session: a redirect is a match, a move or the answer to a join", Redirects);
            yield return new Test("session: commands are due again after a resume and an open reply", OpenReplies);
            yield return new Test("session: commands use half of the session's rates", Rates);
            yield return new Test("session: round trip and clock", Pong);
            yield return new Test("session: messages above the server's limit are refused", MessageLimit);
            yield return new Test("session: another description is another world", Description);
        }

        private static WelcomeMessage Welcome(uint generation, string roomId = "")
        {
            return new WelcomeMessage { SessionId = "s", ResumeToken = "token", Generation = generation, RoomId = roomId };
        }

        private static ClientCore InRoom()
        {
            var core = new ClientCore();
            core.Apply(Welcome(1), 0);
            core.Apply(new JoinedMessage { RoomId = "room" }, 0);
            return core;
        }

        private static void Resume()
        {
            ClientCore core = InRoom();
            World world = core.World;
            var kept = (Welcomed)core.Apply(Welcome(2, "room"), 0);
            Check.That(kept.HasResumed && kept.LostRoomId == "" && !kept.IsJoinInFlight, "the room is kept");
            Check.That(ReferenceEquals(world, core.World), "the world is the same");
            var other = (Welcomed)core.Apply(Welcome(3, "other"), 0);
            Check.That(other.IsJoinInFlight, "the Joined of the other room follows");
            var lost = (Welcomed)core.Apply(Welcome(4), 0);
            Check.Equal("room", lost.LostRoomId, "the room that was lost");
            Check.That(core.World == null && core.Joined == null, "there is no room");
        }

        private static void NewSession()
        {
            ClientCore core = InRoom();
            core.Command("buy", null);
            core.Apply(new EventMessage { Number = 4 }, 0);
            var update = (Welcomed)core.Apply(Welcome(1), 0);
            Check.That(!update.HasResumed && update.HasLostSession, "the session was lost");
            Check.Equal("room", update.LostRoomId, "the room that was lost");
            Check.Equal(0, core.CommandsUnanswered, "commands without a reply");
            Check.Equal(0u, core.LastEvent, "the last event");
            Check.Equal(1UL, core.CommandId, "ids of commands are not used again");
        }

        private static void Restored()
        {
            var core = new ClientCore();
            core.Restore("stored", 7, 40, 2000);
            core.Hello("", "");
            Check.Equal(41u, core.Attempt, "the number of the Hello");
            var update = (Welcomed)core.Apply(Welcome(1), 0);
            Check.That(update.HasLostSession, "a new session means that the stored one was lost");
            core.Restore("stored", 7, 40, 2000);
            core.Apply(Welcome(2, "room"), 0);
            core.Apply(new JoinedMessage { RoomId = "room" }, 0);
            Check.Equal(2001UL, core.Command("buy", null), "the id of the next command");
            Check.That(core.Apply(new EventMessage { Number = 7 }, 0) == null, "an event that was received before");
        }

        private static void Events()
        {
            ClientCore core = InRoom();
            Check.Equal(0u, ((EventReceived)core.Apply(new EventMessage { Number = 1 }, 0)).Missed, "missed events");
            Check.That(core.Apply(new EventMessage { Number = 1 }, 0) == null, "a repeated event");
            Check.Equal(2u, ((EventReceived)core.Apply(new EventMessage { Number = 4 }, 0)).Missed, "missed events");
            Check.Equal(1, core.EventsRepeated, "repeated events");
            Check.Equal(2, core.EventsMissed, "missed events");
        }

        private static void AbandonedJoin()
        {
            var core = new ClientCore();
            core.Apply(Welcome(1), 0);
            core.AbandonJoin();
            Check.That(core.Apply(new JoinedMessage { RoomId = "room" }, 0) == null, "the room is not entered");
            Check.That(core.World == null && !core.IsAbandoningJoin, "the join is over");
            Check.Equal(Json.ToHex(core.Leave()), Json.ToHex(core.Outgoing[0]), "Leave is sent");
            core.AbandonJoin();
            core.Apply(new ErrorMessage { Code = ErrorCode.RateLimited, RequestType = RequestType.Input }, 0);
            Check.That(core.IsAbandoningJoin, "an error of another request does not end it");
            core.Apply(new ErrorMessage { Code = ErrorCode.RoomFull, RequestType = RequestType.Join }, 0);
            Check.That(!core.IsAbandoningJoin, "the error ends it");
        }

        private static void CancelledMatch()
        {
            var core = new ClientCore();
            core.Apply(Welcome(1), 0);
            core.MatchRequest("duel", null);
            Check.That(Status(core, QueueState.Waiting).IsCurrent, "the wait is current");
            core.AbandonMatch();
            Check.Equal(1, core.Outgoing.Count, "MatchCancel is sent");
            core.AbandonMatch();
            Check.Equal(1, core.Outgoing.Count, "and only once");
            core.Apply(Welcome(2), 0);
            Check.Equal(2, core.Outgoing.Count, "and again after a resume");
            core.MatchRequest("duel", null);
            Check.That(!Status(core, QueueState.Waiting).IsCurrent, "a status of the abandoned entry");
            Check.That(!Status(core, QueueState.Waiting).IsCurrent, "another one");
            Check.That(!Status(core, QueueState.Cancelled).IsCurrent, "the answer to the cancellation");
            Check.That(Status(core, QueueState.Waiting).IsCurrent, "the status of the new entry");
            Check.That(Status(core, QueueState.TimedOut).IsEnd, "the wait ended without a match");
        }

        private static QueueChanged Status(ClientCore core, QueueState state, string mode = "duel")
        {
            return (QueueChanged)core.Apply(new MatchStatusMessage { State = state, Mode = mode }, 0);
        }

        private static void Redirects()
        {
            var core = new ClientCore();
            core.Apply(Welcome(1), 0);
            var redirect = new RedirectMessage { Url = "wss://other/", Ticket = "t" };
            var answer = (Redirected)core.Apply(redirect, 0);
            Check.That(!answer.IsMatch && !answer.IsMove, "the answer to a join");
            core.MatchRequest("duel", null);
            Status(core, QueueState.Waiting);
            Status(core, QueueState.Found);
            Check.That(((Redirected)core.Apply(redirect, 0)).IsMatch, "a match");
            core.MatchRequest("duel", null);
            Check.That(Status(core, QueueState.Found, "ranked").IsEnd, "a match of another mode ends the wait");
            Check.That(core.Apply(redirect, 0) == null, "its redirect is not followed");
            Check.That(((Redirected)InRoom().Apply(redirect, 0)).IsMove, "a move");
        }

        private static void OpenReplies()
        {
            ClientCore core = InRoom();
            ulong id = core.Command("buy", null);
            var sent = new List<byte[]>();
            core.CommandsDue(0, sent);
            core.Apply(Welcome(2, "room"), 0);
            core.CommandsDue(0, sent);
            Check.Equal(2, sent.Count, "sent again after a resume");
            var open = new ReplyMessage { Id = id, Error = ErrorCode.Unavailable, RetryAfterMs = 400 };
            Check.That(!((ReplyReceived)core.Apply(open, 100)).IsDecided, "the reply decides nothing");
            Check.Equal(550.0, core.NextCommandMs(100), "the advised time and an eighth of it");
            core.Apply(new ReplyMessage { Id = id, Ok = true }, 0);
            Check.Equal(0, core.CommandsUnanswered, "commands without a reply");
        }

        private static void Rates()
        {
            var core = new ClientCore();
            core.Apply(new WelcomeMessage { Generation = 1, MessagesPerSecondMax = 4, BytesPerSecondMax = 100000 }, 0);
            var sent = new List<byte[]>();
            for (int number = 0; number < 5; number++)
            {
                core.Command("buy", null);
            }

            core.CommandsDue(0, sent);
            Check.Equal(3, sent.Count, "two messages a second, and one beyond them");
            Check.Equal(500.0, core.NextCommandMs(0), "the time of the next one");
            core = new ClientCore();
            core.Apply(new WelcomeMessage { Generation = 1, MessagesPerSecondMax = 400, BytesPerSecondMax = 2000 }, 0);
            core.Command("buy", new byte[1500]);
            core.Command("buy", null);
            sent.Clear();
            core.CommandsDue(0, sent);
            Check.Equal(1, sent.Count, "a large message delays the next one");
            Check.That(core.NextCommandMs(0) > 500, "until its bytes have been allowed");
        }

        private static void Pong()
        {
            var core = new ClientCore();
            var update = (PongReceived)core.Apply(new PongMessage { ClientTimeUs = 1000000, ServerTimeUs = 9000000 }, 1040);
            Check.Near(40, update.RttMs, 1e-9, "the round trip");
            Check.Near(9000 + 20 - 1040, update.ClockOffsetMs, 1e-9, "the offset of the server's clock");
        }

        private static void MessageLimit()
        {
            var core = new ClientCore();
            core.Apply(new WelcomeMessage { Generation = 1, MessageBytesMax = 500 }, 0);
            Check.Throws<MessageTooLargeException>(() => core.Command("buy", new byte[500]), "a command");
            Check.Equal(0, core.CommandsUnanswered, "it is not kept");
            Check.Equal(1UL, core.Command("buy", new byte[10]), "its id is used by the next one");
        }

        private static void Description()
        {
            Func<string, StateDescription> describe = label => new StateDescription
            {
                Tables = new[]
                {
                    new TableDescription
                    {
                        Name = "t",
                        Fields = new[]
                        {
                            new FieldDescription { Name = "e", Kind = FieldKind.Enum, Bits = 1, Labels = new[] { label } },
                        },
                    },
                },
            };
            var core = new ClientCore();
            core.Apply(new JoinedMessage { RoomId = "room", Description = describe("a") }, 0);
            World world = core.World;
            core.Apply(new JoinedMessage { RoomId = "room", Description = describe("a") }, 0);
            Check.That(ReferenceEquals(world, core.World), "the same description");
            core.Apply(new JoinedMessage { RoomId = "room", Description = describe("b") }, 0);
            Check.That(!ReferenceEquals(world, core.World), "another description");
        }
    }
}

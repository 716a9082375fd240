// The arena: the own ship is predicted, other ships are interpolated, bullets are drawn as received. The same game as the demo
// in the browser (web/demo/src/arena.ts).
//
// Add this script to an empty object of a new scene, start a server with `tickwire dev`, and press Play. Arrows fly, space fires.

using System;
using UnityEngine;

namespace Tickwire.Samples
{
    public sealed class ArenaGame : MonoBehaviour
    {
        [SerializeField]
        private string url = "ws://127.0.0.1:8080/";

        [SerializeField]
        private string pilot = "unity";

        private readonly Interpolation ships = new Interpolation("ships", "x", "y", "heading");
        private TickwireClient client;
        private ArenaRoom room;
        private TickClock clock;
        private Prediction<OwnShip, ArenaInputs> prediction;
        private IDisposable following;
        private ArenaView view;
        private double inputMs;

        private async void Start()
        {
            view = new ArenaView(transform);
            Camera.main.orthographic = true;
            Camera.main.orthographicSize = 210;
            client = TickwireClient.Create(url, new ClientOptions
            {
                Build = "arena-unity",
                SessionStorage = new PlayerPrefsSessionStorage("arena.session"),
            });
            client.OnJoined += joined => EnterRoom(client.Room);
            client.OnState += StateApplied;
            client.OnClosed += error => Debug.Log(error.Message);
            try
            {
                await client.OpenAsync();
                if (client.Room == null) // otherwise the session of the last run continues
                {
                    await ArenaRoom.JoinAsync(client, new PilotOptions { Name = pilot });
                }
            }
            catch (ClientException error)
            {
                Debug.LogException(error);
            }
        }

        private void OnDestroy()
        {
            if (client != null)
            {
                client.Dispose();
            }
        }

        private void EnterRoom(Room joined)
        {
            if (room != null && ReferenceEquals(room.Room, joined))
            {
                return; // it has moved to another shard
            }

            room = new ArenaRoom(joined);
            clock = new TickClock(joined.TickRateHz);
            if (following != null)
            {
                following.Dispose();
            }

            prediction = OwnShip.Predict(joined);
            following = prediction.Follow(client, TryReadOwnShip);
            room.OnScored(scored => Debug.Log(scored.Name + " scores: " + scored.Score));
            room.OnSaid(said => Debug.Log(said.Name + ": " + said.Words));
        }

        private bool TryReadOwnShip(out OwnShip state)
        {
            ArenaShips ship;
            bool isFound = room.Ships.TryFind(room.Room.Entity, out ship);
            state = isFound ? new OwnShip { X = ship.X, Y = ship.Y, Heading = ship.Heading } : default(OwnShip);
            return isFound;
        }

        private void StateApplied(StateApplied update)
        {
            clock.Observe(update.Tick, TickwireClient.NowMs);
            ships.Push(room.Room.World);
        }

        private void Update()
        {
            if (room == null || !room.Room.IsJoined)
            {
                return;
            }

            double now = TickwireClient.NowMs;
            if (now >= inputMs)
            {
                inputMs = Math.Max(inputMs + 1000 / room.Room.TickRateHz, now);
                SendInput(now);
            }

            Draw(now);
        }

        private void SendInput(double now)
        {
            var inputs = new ArenaInputs
            {
                Thrust = (Input.GetKey(KeyCode.UpArrow) ? 1 : 0) - (Input.GetKey(KeyCode.DownArrow) ? 0.5 : 0),
                Turn = (Input.GetKey(KeyCode.LeftArrow) ? 1 : 0) - (Input.GetKey(KeyCode.RightArrow) ? 1 : 0),
                Fire = Input.GetKey(KeyCode.Space),
            };
            prediction.Sent(room.SendInput(inputs), inputs, now);
        }

        private void Draw(double now)
        {
            uint own = room.Room.Entity;
            view.Begin();
            foreach (InterpolatedEntity ship in ships.Sample(clock.RenderTick(now)))
            {
                if (ship.Id != own)
                {
                    view.ShowShip(ship.Id, ship.Number("x"), ship.Number("y"), ship.Number("heading"), false);
                }
            }

            if (prediction.HasState)
            {
                OwnShip ship = prediction.Sample(now);
                view.ShowShip(own, ship.X, ship.Y, ship.Heading, true);
                Camera.main.transform.position = new Vector3((float)ship.X, (float)ship.Y, -100);
            }

            foreach (ArenaBullets bullet in room.Bullets)
            {
                view.ShowBullet(bullet.Id, bullet.X, bullet.Y);
            }

            view.End();
        }
    }
}
